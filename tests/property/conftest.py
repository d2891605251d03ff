"""A history that is decided in two ways fails with both values, not with a bare AssertionError."""

import pytest

pytest.register_assert_rewrite("tests.property.both")
