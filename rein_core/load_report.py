"""What became of every key of a weight file, in a line for the user."""

from dataclasses import dataclass, field


@dataclass
class LoadReport:
    """What became of every key of a weight file.

    Args:
        name: the VFM.
        digest: sha256 over the source's names and values, before any resizing; `random:SEED` for random weights.
        matched, missing, resized: keys of the VFM.
        unused: keys of the file, under its own names, that only pretraining, a classifier or another network needs.
        unexpected: the other keys that the VFM has no place for.
    """

    name: str
    digest: str
    matched: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    unexpected: list[str] = field(default_factory=list)
    resized: list[str] = field(default_factory=list)
    unused: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        """`NAME (sha256 0123456789ab): 172 matched, 2 resized, 1 unused (mask_token)`; the resized are matched too."""
        if not self.matched:
            return f"{self.name} ({self.digest})"
        unused = f", {len(self.unused)} unused ({_some(self.unused)})" if self.unused else ""
        counts = f"{len(self.matched)} matched, {len(self.resized)} resized{unused}"
        return f"{self.name} (sha256 {self.digest[:12]}): {counts}"

    def check(self, weights: str) -> None:
        """Raises ValueError with the keys of `weights` that are missing, or more than the VFM has."""
        wrong = {"missing": self.missing, "unexpected or of another shape": self.unexpected}
        parts = [f"{len(keys)} {kind} ({_some(keys)})" for kind, keys in wrong.items() if keys]
        if parts:
            raise ValueError(f"model.vfm.weights: {weights} is not {self.name}: {'; '.join(parts)}")


def _some(keys: list[str]) -> str:
    return ", ".join(keys[:8]) + (", …" if len(keys) > 8 else "")
