"""Measure where each galaxy lies and how large it is, as seen at 10 sigma: data/pysex_params_extra_{train,test}.npy.gz.

A row an image, in the order of the ids: x, y, a, b, theta, flux_radius, kron_radius, petro_radius, fwhm. An
interrupted extraction goes on when it is run again. The models with `pysexgen1` in their names centre and rescale by
these numbers.

Source: documentation of 2014, 2.1.5 and 3.4.
"""

from machine.command_line import run_script
from survey import pysex_params
from survey.centering import EXTRA_PARAMS


def main() -> None:
    pysex_params.run(EXTRA_PARAMS, __doc__)


if __name__ == "__main__":
    run_script(main)
