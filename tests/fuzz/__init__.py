# SPDX-License-Identifier: Apache-2.0
"""Random mutations of everything that describes a region: `scs env check` says what is wrong, whatever it is.

`make fuzz SEED=1 N=10000` runs many; `python -m tests.fuzz --seed 1 --case 77` repeats one and keeps its files.
"""
