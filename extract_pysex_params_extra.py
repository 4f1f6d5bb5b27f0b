"""Measure position and size of each galaxy at 10 sigma -> data/pysex_params_extra_{train,test}.npy.gz.

One row per image, in the order of the ids: x, y (pixels, counted from 1), a, b (pixels), theta (degrees), flux_radius
(pixels), kron_radius, petro_radius (in units of a), fwhm (pixels). An interrupted extraction resumes with the same
command. The models with `pysexgen1` in their names use these measurements to centre and rescale galaxies.

Source: documentation of 2014, 2.1.5 and 3.4.
"""

from machine.command_line import run_script

from survey import pysex_params
from survey.centering import EXTRA_PARAMS


def main() -> None:
    pysex_params.run(EXTRA_PARAMS, __doc__)


if __name__ == "__main__":
    run_script(main, pysex_params.KEPT)
