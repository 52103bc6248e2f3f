"""Where the demo's market data comes from."""

import zlib
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Source:
    """The live exchange, or the simulator with its generator or a recording."""

    live: bool = False
    recording: Path | None = None

    @property
    def label(self) -> str:
        """Names the folder of its runs: one market's ids must not meet another's in one table."""
        if self.live:
            return "live"
        if self.recording is None:
            return "sim"
        # Two recordings of one name are two markets.
        return f"feed-{self.recording.name.split('.')[0]}-{zlib.crc32(bytes(self.recording)):08x}"

    def __str__(self) -> str:
        if self.live:
            return "the live exchange"
        return f"the simulator, playing {self.recording.name if self.recording else 'its generator'}"
