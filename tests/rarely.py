"""The mark of tests that take long beside others much like them: ``FEDGAN_ALL_TESTS=1`` runs them, CI does not."""

import os

import pytest

RARELY = pytest.mark.skipif("FEDGAN_ALL_TESTS" not in os.environ, reason="takes long: set FEDGAN_ALL_TESTS=1")
