"""What the signer said of its day is kept for that day, told in words, and of no step but those that it is about."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.support.clock import FakeClock
from tests.support.firings import ACCOUNT, GWEI, TOKEN, a_firing, a_plan, with_calls
from tests.support.plain_rules import repay, rule_of
from tui.engine.carrying import DAY_IS_USED, REFUSED
from tui.engine.signer_days import SignerDays
from tui.model.plan import Plan, PlannedCall, Refusal
from tui.model.signing import DayUsed

RULE = replace(rule_of(repay()), source="/home/me/rules.toml:3")
PAYER = "0x" + "d4" * 20
DAY = 24 * 60 * 60


def a_spend(amount: int, step: int, sender: str | None = None) -> PlannedCall:
    data = b"\x01\x02\x03\x04" + amount.to_bytes(32, "big")
    return PlannedCall(
        TOKEN, data, 0, "call", None, gas_limit=100_000, spend_token=TOKEN, spend_word=0, sender=sender, step=step
    )


def of(*calls: PlannedCall) -> Plan:
    return with_calls(a_plan(a_firing()), *calls)


class Days:
    """A memory with its hands."""

    def __init__(self) -> None:
        self.clock, self.armed_at = FakeClock(), 5.0
        self.days = SignerDays(self.clock, lambda: self.armed_at)

    def hear(self, used: DayUsed, plan: Plan, account: str = ACCOUNT) -> Refusal:
        told = self.days.heard(RULE, plan, Refusal(DAY_IS_USED, used.text, account=account))
        assert told is not None
        return told


@pytest.fixture
def days() -> Days:
    return Days()


def test_it_is_told_with_what_mends_it_and_kept_for_what_is_over_what_is_left(days: Days) -> None:
    told = days.hear(DayUsed(TOKEN, 70, 40, 100), of(a_spend(40, 0)))
    assert told.code == DAY_IS_USED
    for words in ("signs for 100 base units a day", "has signed for 70 base units today", "40 base units are wanted",
                  "until tomorrow (00:00 UTC)", "daily_spend_usd", "/home/me/rules.toml and"):  # fmt: skip
        assert words in told.reason
    assert days.days.refuse(RULE, of(a_spend(30, 0))) is None
    refused = days.days.refuse(RULE, of(a_spend(20, 1), a_spend(11, 3), a_spend(10, 4)))
    assert refused is not None
    assert refused[0].reason.count("41 base units are wanted") == 1
    assert refused[1] == (3,), "what fits into what is left is done, in the order of the plan"


def test_it_is_of_one_account_and_one_token(days: Days) -> None:
    days.hear(DayUsed(TOKEN, 70, 40, 100), of(a_spend(40, 0, PAYER)), PAYER)
    assert days.days.refuse(RULE, of(a_spend(1_000, 0))) is None
    both = days.days.refuse(RULE, of(a_spend(1_000, 0), a_spend(31, 1, PAYER)))
    assert both is not None
    assert (both[0].account, both[1]) == (PAYER, (1,))
    assert days.days.refuse(RULE, of(replace(a_spend(31, 1, PAYER), spend_token="0x" + "e5" * 20))) is None


def test_gas_of_the_day_is_for_the_steps_that_it_lasts_for(days: Days) -> None:
    told = days.hear(DayUsed(None, 10**18, 10**16, 10**18 + 10**15), of(a_spend(1, 0), a_spend(1, 1)))
    assert "max_cost_usd" in told.reason
    assert "1.001000 of the native coin" in told.reason
    one = of(a_spend(1, 0))
    assert one.fees.max_fee == 10 * GWEI
    assert days.days.refuse(RULE, one) is None, "a hundred thousand gas at ten gwei is what is left"
    refused = days.days.refuse(RULE, of(a_spend(1, 0), a_spend(1, 1)))
    assert refused is not None
    assert refused[1] == (1,)
    dear = replace(a_spend(1, 0), gas_limit=900_000)
    refused = days.days.refuse(RULE, of(dear, a_spend(1, 1)))
    assert refused is not None
    assert refused[1] == (0,), "the dear one is left out, and the cheap one behind it is not"
    refused = days.days.refuse(RULE, of(replace(dear, step=None)))
    assert refused is not None
    assert refused[1] == (), "what is for no step can be left out of none"


def test_what_one_account_has_used_up_holds_no_step_of_another(days: Days) -> None:
    days.hear(DayUsed(None, 10**18, 10**15, 10**18), of(a_spend(1, 0, PAYER)), PAYER)
    assert days.days.refuse(RULE, of(a_spend(1, 0))) is None
    refused = days.days.refuse(RULE, of(a_spend(1, 0), a_spend(1, 1, PAYER)))
    assert refused is not None
    assert (refused[0].account, refused[1]) == (PAYER, (1,))


def test_what_was_asked_for_in_vain_leaves_the_room_to_less(days: Days) -> None:
    """Nothing was signed yet, and all of the plan was too much: a smaller one goes out."""
    days.hear(DayUsed(TOKEN, 0, 120, 100), of(a_spend(60, 0), a_spend(60, 1)))
    assert days.days.refuse(RULE, of(a_spend(60, 0))) is None
    days.hear(DayUsed(None, 0, 4 * 10**15, 35 * 10**14), of(*(a_spend(1, step) for step in range(4))))
    assert days.days.refuse(RULE, of(*(a_spend(1, step) for step in range(3)))) is None


@pytest.mark.parametrize("how", ["tomorrow", "armed"])
def test_it_is_over_with_the_day_and_once_something_is_armed(days: Days, how: str) -> None:
    days.hear(DayUsed(TOKEN, 70, 40, 100), of(a_spend(40, 0)))
    days.clock.advance(DAY - days.clock.now() % DAY - 1)
    assert days.days.refuse(RULE, of(a_spend(40, 0))) is not None
    if how == "tomorrow":
        days.clock.advance(1)
    else:
        days.armed_at = 6.0
    assert days.days.refuse(RULE, of(a_spend(40, 0))) is None


@pytest.mark.parametrize("refused", [None, Refusal(REFUSED, DayUsed(TOKEN, 0, 2, 1).text, account=ACCOUNT),
                                     Refusal(DAY_IS_USED, "the kill switch is on", account=ACCOUNT)])  # fmt: skip
def test_any_other_refusal_stays_as_it_is(days: Days, refused: Refusal | None) -> None:
    assert days.days.heard(RULE, of(a_spend(40, 0)), refused) == refused
    assert days.days.refuse(RULE, of(a_spend(40, 0))) is None
