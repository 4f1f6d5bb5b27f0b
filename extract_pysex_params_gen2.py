"""Measure where each galaxy lies and how large it is, as seen at 2 sigma: data/pysex_params_gen2_{train,test}.npy.gz.

A row an image, in the order of the ids: x, y, a, b, theta, petro_radius. An interrupted extraction goes on when it is
run again. The models whose names end with `pysex` centre and rescale by these numbers.

Source: documentation of 2014, 2.1.5 and 3.4.
"""

from machine.command_line import run_script
from survey import pysex_params
from survey.centering import GEN2_PARAMS


def main() -> None:
    pysex_params.run(GEN2_PARAMS, __doc__)


if __name__ == "__main__":
    run_script(main)
