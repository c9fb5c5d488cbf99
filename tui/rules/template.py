"""The rules file that a new user starts from: commented, valid, and harmless until its owner says otherwise."""

from __future__ import annotations

TEMPLATE = """\
# Rules: when to act on which position, how far, with what, and within which limits.
# Check this file with:  trimtab rules check FILE
# Numbers that are money or ratios stand in quotes and are read exactly.

# This rule only tells you. It signs nothing and needs no key.
[[rule]]
name = "watch"
position = "*"                     # "*", a market such as "aave-v3/core", or "aave-v3/core/0x..." for one account
mode = "notify"                    # notify: tell me; confirm: ask me first; auto: act by itself, once armed
when = { health_factor_below = "1.40", for_blocks = 1 }   # liquidation begins below 1

# This one would defend. Take away the leading "#" and fit the numbers to your own position.
# Nothing is signed before you arm the rule by its name and unlock your keystore.
#
# [[rule]]
# name = "guard"
# position = "aave-v3/core"
# mode = "confirm"
# when = { health_factor_below = "1.25", for_blocks = 1 }
# target = { health_factor = "1.50" }
# partial = false                  # true: it may be armed though it does not reach its target with what is there
# order = "written"                # written: step after step as below; cheapest: the cheapest that reaches the target
#
# [[rule.step]]                    # the waterfall: step by step, until the target is met
# action = "repay"                 # pays debt from your wallet
# asset = "USDC"                   # symbol or address
# max = "5000"                     # at most so many whole tokens for one firing
#
# [[rule.step]]
# action = "add-collateral"        # supplies more from your wallet
# asset = "WETH"
# max = "2"
#
# [[rule.step]]
# action = "repay-with-atokens"    # pays debt out of what you have supplied of the same asset
# asset = "USDC"
#
# [[rule.step]]
# action = "deleverage"            # sells collateral for debt in one transaction
# collateral = "WETH"              # what is sold
# debt = "USDC"                    # what is repaid
# max_slippage = "0.5%"            # the most a sale may lose, all told, against the market's own prices
# max = "3"                        # at most so many whole tokens of the collateral for one firing
#
# [rule.limits]
# max_cost_usd = "200"             # gas and sales of one firing
# max_cost_share = "25%"           # of the liquidation loss that acting avoids
# max_base_fee_gwei = "500"        # do nothing while gas costs more
# emergency = "1.05"               # under this health factor the two above give way, up to the whole loss avoided
# daily_spend_usd = "50000"        # of your tokens, a day
# cooldown = "5m"                  # rest after a firing: s, m, h or d
# stale_price = "hold"             # where a price is too old: hold (do nothing), or act (repay all the same)
# standing_allowance = "refuse"    # where the market may take more than needed: refuse (take it back first), or use
"""
