"""From a rule that fires to ordered, sized, priced contract calls."""
