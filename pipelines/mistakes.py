"""Ends of a training to which it would come again, so that nobody tries the same twice."""


class Mistake(ValueError):
    """A worker raised a ValueError, such as of damaged data: no use to try again before that is mended."""


class Diverged(Mistake):
    """A loss or a parameter is no number: only other settings mend that."""
