"""Steps that name who pays: which may, what is wrong with them at their line, and what they mean."""

from __future__ import annotations

import pytest

from tui.model.position import MarketKey, PositionKey
from tui.rules.edit import set_field, unset_field
from tui.rules.load import parse_rules
from tui.rules.match import may_defend

PAYER = "0x" + "ab" * 20
COLD = "0x" + "c0" * 20
HEAD = """\
[[rule]]
name = "guard"
position = "aave-v3/core{account}"
mode = "auto"
when = {{ health_factor_below = "1.25" }}
target = {{ health_factor = "1.50" }}

[[rule.step]]   # who pays
"""
REPAY = 'action = "repay"\nasset = "USDC"\n'


def text_of(step: str, account: str = "") -> str:
    return HEAD.format(account=account) + step


def test_a_wallet_is_read_in_lower_case_and_is_part_of_the_meaning() -> None:
    plain = parse_rules(text_of(REPAY), "r.toml")
    paid = parse_rules(text_of(REPAY + f'wallet = "{PAYER.upper().replace("0X", "0x")}"\n'), "r.toml")
    assert (plain.faults, paid.faults) == ((), ())
    (one,), (two,) = plain.rules, paid.rules
    assert (one.steps[0].wallet, two.steps[0].wallet) == (None, PAYER)
    assert one.digest != two.digest
    assert (one.signers(COLD), two.signers(COLD), two.wallets) == ((COLD,), (PAYER,), (PAYER,))


@pytest.mark.parametrize(
    ("step", "line", "said"),
    [
        ('action = "repay-with-atokens"\nasset = "USDC"\n', 11, "acts on the position itself"),
        (
            'action = "deleverage"\ncollateral = "WETH"\ndebt = "USDC"\nmax_slippage = "1%"\n',
            13,
            "acts on the position",
        ),
        ('action = "switch-debt"\nfrom = "USDC"\nto = "DAI"\nmax_slippage = "1%"\n', 13, "acts on the position itself"),
    ],
)
def test_what_acts_on_the_position_itself_has_no_wallet(step: str, line: int, said: str) -> None:
    loaded = parse_rules(text_of(step + f'wallet = "{PAYER}"\n'), "r.toml")
    assert loaded.rules == ()
    (fault,) = loaded.faults
    assert (fault.line, fault.field) == (line, "step.0.wallet")
    assert said in fault.fix


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ('"0x12"', "is not an address"),
        (f'"0x{"0" * 40}"', "the zero address"),
        ("7", "not a text in quotes"),
        ('"0xABababababababababababababababababababab"', "mistyped"),
    ],
)
def test_an_address_that_is_none_is_a_fault_at_its_line(value: str, said: str) -> None:
    loaded = parse_rules(text_of(REPAY + f"wallet = {value}\n"), "r.toml")
    assert loaded.rules == ()
    (fault,) = loaded.faults
    assert fault.line == 11
    assert said in fault.what


def test_comments_survive_a_change_of_who_pays() -> None:
    before = text_of(REPAY)
    with_payer = set_field(before, "guard", "step.0.wallet", PAYER)
    assert "# who pays" in with_payer
    assert parse_rules(with_payer, "r.toml").rules[0].steps[0].wallet == PAYER
    assert unset_field(with_payer, "guard", "step.0.wallet") == before


def test_nobodys_debt_is_paid_because_of_a_markets_name() -> None:
    wallet = f'wallet = "{PAYER}"\n'
    market, named = (parse_rules(text_of(REPAY + wallet, at), "r.toml").rules[0] for at in ("", f"/{COLD}"))
    (own,) = parse_rules(text_of(REPAY, f"/{COLD}"), "r.toml").rules
    key = PositionKey(MarketKey("aave-v3", "core"), COLD)
    assert not may_defend(market, key, {PAYER})
    assert may_defend(market, key, {COLD, PAYER})
    assert may_defend(named, key, {PAYER})
    assert not may_defend(own, key, {PAYER})
