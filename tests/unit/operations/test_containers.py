# SPDX-License-Identifier: Apache-2.0
"""`scs status` of a selection that is empty by mistake must not look healthy."""

from __future__ import annotations

import pytest

from scs_deploy.base.errors import RefusedError
from scs_deploy.operations.containers import observe
from tests.conftest import dummy_region


@pytest.mark.parametrize(
    ("names", "hosts", "said"),
    [
        ((), ("nosuch",), "no host 'nosuch' in the inventory (there are: compute-1, "),
        ((), ("compute-1", "compute-11"), "no host 'compute-11' in the inventory (did you mean compute-1"),
        (("keystone",), ("compute-1",), "keystone: does not run on compute-1 (it runs on: control-1, "),
        (("nova_compute",), ("control-1",), "nova_compute: does not run on control-1 (it runs on: compute-1, "),
        (("nosuch",), (), "no service, layer or container 'nosuch'"),
    ],
)  # fmt: skip
def test_a_selection_of_nothing_is_refused(names: tuple[str, ...], hosts: tuple[str, ...], said: str) -> None:
    """Before any host is asked: the region's hosts do not exist."""
    with pytest.raises(RefusedError) as error:
        observe(dummy_region("region"), names, hosts)
    assert str(error.value).startswith(said)
