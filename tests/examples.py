"""How many examples a costly test by Hypothesis looks at."""

import os


def examples(many: int) -> int:
    """``many`` where ``THOROUGH=1`` asks for it, a quarter of that else."""
    return many if os.environ.get("THOROUGH") else many // 4
