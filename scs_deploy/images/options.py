# SPDX-License-Identifier: Apache-2.0
"""The options that an image's OpenStack programs read: the script that lists them in the image, and its output."""

from __future__ import annotations

import hashlib
from pathlib import Path

from scs_deploy.environment.option_lists import OptionList
from scs_deploy.images.python import VENV

PROGRAM = (Path(__file__).parent / "list_options.py").read_text(encoding="utf-8")
VERSION = hashlib.sha256(PROGRAM.encode()).hexdigest()[:12]
LIST = f"""\
python={VENV}/bin/python
[ -x $python ] || python=$(command -v python3) || exit 0
exec $python - <<'END'
{PROGRAM}
END
"""


def parse(output: str) -> OptionList | None:
    """Parse the output of LIST; None: the image contains no OpenStack."""
    return OptionList.model_validate_json(output) if output.strip() else None
