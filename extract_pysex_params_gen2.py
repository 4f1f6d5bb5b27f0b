"""Measure where each galaxy lies and how large it is, as seen at 2 sigma: data/pysex_params_gen2_{train,test}.npy.gz.

A row an image, in the order of the ids: x, y, a, b, theta, petro_radius. An interrupted extraction goes on when it is
run again. The models whose names end with `pysex` centre and rescale by these numbers.

Source: documentation of 2014, 2.1.5 and 3.4.
"""

import centering
import load_data
import source_extraction


def main() -> None:
    source_extraction.run(centering.GEN2, __doc__)


if __name__ == "__main__":
    load_data.run_script(main)
