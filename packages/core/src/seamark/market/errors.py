"""What market data can be refused for."""


class MarketError(ValueError):
    """A value that the data contract does not allow."""


class DecimalOutOfRange(MarketError):
    """A price or quantity that decimal(28,10) cannot hold exactly."""


class RoutingError(MarketError):
    """A routing record or tiers file that does not hold together."""


class UnsupportedSequence(MarketError):
    """A feed whose kind of sequence this build does not fold."""
