"""Write data/test_ids.npy: the ids of the test galaxies, read off the names of their images and sorted by number.

Everything that concerns the test set (predictions, extracted parameters, the submission) follows the order of this
file.

Source: documentation of 2014, 3.4 and 5.4.
"""

import image_check
import load_data


def main() -> None:
    args = load_data.script_parser(__doc__).parse_args()
    folders = load_data.use_folders(args.root, args.data)
    ids = image_check.list_ids("test")
    path = folders.data / "test_ids.npy"
    load_data.save_array(path, ids)
    print(f"wrote {len(ids)} ids to {path}")


if __name__ == "__main__":
    load_data.run_script(main)
