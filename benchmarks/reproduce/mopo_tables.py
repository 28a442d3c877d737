"""Every claim of the MOPO paper that tables can decide."""

from __future__ import annotations

import mopo_lag
import mopo_motivating
import mopo_robust
import mopo_structures
import mopo_tau
from budget import Budget
from section import Section

PARTS = (mopo_structures, mopo_motivating, mopo_tau, mopo_lag, mopo_robust)


def sections(budget: Budget) -> list[Section]:
    """In the order of the page."""
    return [section for part in PARTS for section in part.sections(budget)]
