"""Tables of labels: what the page saves, tables of other programs, and faults in one message."""

from pathlib import Path

import pytest

from catalogue.label_tables import is_refusal, read_labels
from machine.files import DataError


def written(folder: Path, text: str) -> Path:
    path = folder / "labels.csv"
    path.write_text(text, encoding="utf-8")
    return path


def test_labels_of_the_page_are_read_in_their_order(tmp_path: Path):
    text = (
        'id_str,file_loc,label,time\n007,a/7.jpg,other,2026-01-01T00:00:00Z\n"a,""b",x.png,ring,\n007,a/7.jpg,other,\n'
    )
    labels = read_labels(written(tmp_path, text))
    assert (labels.ids, labels.files, labels.names) == (["007", 'a,"b'], ["a/7.jpg", "x.png"], ["other", "ring"])
    assert labels.wanted() == "ring" and labels.wanted("other") == "other"
    with pytest.raises(DataError, match="no galaxy has the label lens; expected one of other, ring"):
        labels.wanted("lens")


def test_two_columns_suffice_and_labels_may_be_numbers(tmp_path: Path):
    labels = read_labels(written(tmp_path, "ID_STR,Label\n1,0\n2,1\n3,NA\n"))
    assert (labels.ids, labels.names, labels.files) == (["1", "2", "3"], ["0", "1", "NA"], ["", "", ""])
    assert labels.wanted() == "1"


def test_refusals_are_words_of_refusal():
    assert all(map(is_refusal, ("other", "No", "not a ring", "none", "0")))
    assert not any(map(is_refusal, ("ring", "nova", "notable", "1", "")))


FAULTS = {
    "no column label": "id_str,class\n1,a\n",
    "row 2 has no label": "id_str,label\n1,a\n2,\n",
    "row 1 has no id_str": "id_str,label\n,a\n",
    "1 has the labels a and b": "id_str,label\n1,a\n1,b\n",
    "has no label": "id_str,label\n",
    "a label of 500 characters": f"id_str,label\n1,{'a' * 500}\n",
    "at most 100 different labels, got 150": "id_str,label\n" + "".join(f"{n},{n}\n" for n in range(150)),
    "not a readable csv table": "id_str,label\n1,a,b,c,d\n",
    "first line is empty": "\n1,2\n",
}


@pytest.mark.parametrize("message", FAULTS)
def test_faults_of_labels_are_one_message(tmp_path: Path, message: str):
    with pytest.raises(DataError, match=message) as error:
        read_labels(written(tmp_path, FAULTS[message]))
    assert "\n" not in str(error.value)
