# pragma version ~=0.4.0
"""
@title A price feed whose owner sets the price
@notice Answers what a Chainlink aggregator answers, with 8 decimals. For practice chains only.
"""

event AnswerUpdated:
    current: indexed(int256)
    roundId: indexed(uint256)
    updatedAt: uint256

DECIMALS: constant(uint8) = 8

owner: public(immutable(address))
description: public(String[32])
latestAnswer: public(int256)
latestRound: public(uint256)
latestTimestamp: public(uint256)


@deploy
def __init__(description: String[32], answer: int256):
    owner = msg.sender
    self.description = description
    self._publish(answer)


@external
def setAnswer(answer: int256):
    """
    @notice Publish a new price as a new round. A price of zero or less is allowed: consumers must cope.
    """
    assert msg.sender == owner, "only the owner sets the price"
    self._publish(answer)


@external
@view
def latestRoundData() -> (uint80, int256, uint256, uint256, uint80):
    round: uint80 = convert(self.latestRound, uint80)
    return round, self.latestAnswer, self.latestTimestamp, self.latestTimestamp, round


@external
@pure
def decimals() -> uint8:
    return DECIMALS


@external
@pure
def version() -> uint256:
    return 4


@internal
def _publish(answer: int256):
    self.latestAnswer = answer
    self.latestRound += 1
    self.latestTimestamp = block.timestamp
    log AnswerUpdated(current=answer, roundId=self.latestRound, updatedAt=block.timestamp)
