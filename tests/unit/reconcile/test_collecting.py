"""Runs at once share the process's setting: it is put back by the last that ends, whichever began first."""

from __future__ import annotations

import gc
from contextlib import ExitStack

from syncd.reconcile.collecting import MADE, Seldom


def test_the_last_of_runs_at_once_puts_back_what_was_there() -> None:
    before, seldom = gc.get_threshold(), Seldom()
    first, second = ExitStack(), ExitStack()
    first.enter_context(seldom.collecting())
    second.enter_context(seldom.collecting())
    assert gc.get_threshold() == (max(MADE, before[0]), *before[1:])
    first.close()
    assert gc.get_threshold() == (max(MADE, before[0]), *before[1:])
    second.close()
    assert gc.get_threshold() == before
