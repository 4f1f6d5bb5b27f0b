"""Pickles of NumPy arrays and plain values, read without running what they name.

A pickle is a program: it names any function and has it called. Admitting NumPy's own functions by name is not enough,
since NumPy trusts a pickle's description of a data type, and an array of objects whose type denies holding objects is
a pointer of a stranger's choice. So nothing that a pickle names is ever called: functions of this module stand in for
the few that arrays are made with, and they make arrays of numbers only.

What a pickle costs is bounded by its length: no opcode that prepares room for what may not come, no value copied again
and again, no key that takes for ever to hash.
"""

import math
import pickle
import re
from collections.abc import Callable
from typing import BinaryIO, ClassVar

import numpy as np

# Booleans, integers and floats, as NumPy writes them: kind and bytes.
_NUMBERS = re.compile(r"[biuf][0-9]{1,2}")
_KEYS = (str, bytes, int, float, type(None))  # bool is an int
# An array's bytes pass through two functions at most; small files need not be counted.
_COPIES, _FREE_BYTES = 4, 1 << 16


class _Dtype:
    """Stands in for numpy.dtype, whose state a pickle sets after making it."""

    def __init__(self, code: str, align: bool = False, copy: bool = False):
        if not isinstance(code, str) or not _NUMBERS.fullmatch(code):
            raise pickle.UnpicklingError(f"it holds an array of {code!r}, and only arrays of numbers are read")
        self.dtype = np.dtype(code)

    def set_state(self, state: tuple) -> None:
        """Take the byte order, and nothing else."""
        self.dtype = self.dtype.newbyteorder(state[1])


class PlainUnpickler(pickle._Unpickler):
    """Reads NumPy arrays and plain values, of Python 2 as well; raises for anything else, before it is used.

    The unpickler is Python's own in Python, because the one in C can not be kept from setting an object's state. An
    array's bytes are one read in both.
    """

    # Objects with a state of their own, extensions, sets, and values that come from elsewhere.
    REFUSED = (
        *(pickle.OBJ, pickle.NEWOBJ, pickle.NEWOBJ_EX, pickle.EXT1, pickle.EXT2, pickle.EXT4),
        *(pickle.EMPTY_SET, pickle.ADDITEMS, pickle.FROZENSET),
        *(pickle.PERSID, pickle.BINPERSID, pickle.NEXT_BUFFER, pickle.READONLY_BUFFER),
    )
    dispatch: ClassVar[dict[int, Callable]] = dict(pickle._Unpickler.dispatch)

    def __init__(self, file: BinaryIO, num_bytes: int):
        """Read a file of so many bytes, of which `file.read` never promises more than there are."""
        super().__init__(file, encoding="latin1")
        self.budget = _FREE_BYTES + _COPIES * num_bytes
        stand_ins = {
            ("numpy", "dtype"): _Dtype,
            ("numpy", "ndarray"): "numpy.ndarray",  # only ever an argument, never called
            ("_codecs", "encode"): self._encode,
            ("__builtin__", "bytes"): self._no_bytes,
            ("builtins", "bytes"): self._no_bytes,
        }
        for core in ("numpy.core", "numpy._core"):  # before NumPy 2 and since
            stand_ins[f"{core}.multiarray", "_reconstruct"] = self._reconstruct
            stand_ins[f"{core}.multiarray", "scalar"] = self._scalar
            stand_ins[f"{core}.numeric", "_frombuffer"] = self._frombuffer
        self.stand_ins = stand_ins

    def find_class(self, module: str, name: str) -> object:
        if (module, name) not in self.stand_ins:
            raise pickle.UnpicklingError(f"it holds {module}.{name}, and only NumPy arrays and plain values are read")
        return self.stand_ins[module, name]

    def _spend(self, num_bytes: int) -> None:
        self.budget -= num_bytes
        if self.budget < 0:
            raise pickle.UnpicklingError("it holds more bytes than the file has")

    def _encode(self, text: str, encoding: str) -> bytes:
        """Stand in for `_codecs.encode`, by which pickles of protocol 2 carry bytes."""
        if encoding != "latin1":
            raise pickle.UnpicklingError(f"it holds bytes in encoding {encoding!r}")
        self._spend(len(text))
        return text.encode(encoding)

    def _no_bytes(self) -> bytes:
        """Stand in for `bytes()`, by which pickles of protocol 2 make none."""
        return b""

    def _bytes(self, raw: bytes | bytearray | str) -> bytes | bytearray:
        """Return an array's bytes, which Python 2 wrote as a string."""
        self._spend(len(raw))
        return raw.encode("latin1") if isinstance(raw, str) else raw

    def _reconstruct(self, kind: object, shape: tuple, code: bytes) -> np.ndarray:
        """Make an empty array, whose state is to follow."""
        return np.empty(0, np.uint8)

    def _scalar(self, dtype: _Dtype, raw: bytes | str) -> np.generic:
        raw = self._bytes(raw)
        if len(raw) != dtype.dtype.itemsize:
            raise pickle.UnpicklingError(f"it holds a {dtype.dtype} of {len(raw)} bytes")
        return np.frombuffer(raw, dtype.dtype)[0]

    def _frombuffer(self, raw: bytes, dtype: _Dtype, shape: tuple, order: str, axes: tuple | None = None) -> np.ndarray:
        """Make an array as protocol 5 does; for order K, `axes` says where each axis of the bytes belongs."""
        array = np.frombuffer(raw, dtype.dtype)
        return array.reshape(shape, order=order) if axes is None else array.reshape(shape).transpose(axes)

    def load_build(self) -> None:
        """Set the state of the object on the stack."""
        state, target = self.stack.pop(), self.stack[-1]
        if isinstance(target, _Dtype):
            target.set_state(state)
        elif isinstance(target, np.ndarray) and target.shape == (0,):
            _, shape, dtype, fortran_order, raw = state
            raw, dtype = self._bytes(raw), dtype.dtype
            if min(shape, default=0) < 0 or math.prod(shape) * dtype.itemsize != len(raw):
                raise pickle.UnpicklingError(f"it holds an array {shape} of {dtype} in {len(raw)} bytes")
            target.__setstate__((1, shape, dtype, bool(fortran_order), bytes(raw)))
        else:
            raise pickle.UnpicklingError(f"it sets the state of a {type(target).__name__}")

    def load_bytearray8(self) -> None:
        """Read a bytearray, instead of first making one as long as the pickle says."""
        (length,) = np.frombuffer(self.read(8), "<u8").tolist()
        self.append(bytearray(self.read(length)))

    def _fill(self, target: object, items: list) -> None:
        if type(target) is not dict or not all(isinstance(key, _KEYS) for key in items[::2]):
            raise pickle.UnpicklingError("it holds a dictionary whose keys are neither text nor numbers")
        target.update(zip(items[::2], items[1::2], strict=True))

    def load_dict(self) -> None:
        """Make a dictionary of all items since the mark."""
        items, target = self.pop_mark(), {}
        self._fill(target, items)
        self.append(target)

    def load_setitem(self) -> None:
        """Put one item into the dictionary on the stack."""
        value, key = self.stack.pop(), self.stack.pop()
        self._fill(self.stack[-1], [key, value])

    def load_setitems(self) -> None:
        """Put all items since the mark into the dictionary below it."""
        items = self.pop_mark()
        self._fill(self.stack[-1], items)

    def load_refused(self) -> None:
        """Refuse what neither arrays nor plain values need."""
        raise pickle.UnpicklingError("it holds an object, and only NumPy arrays and plain values are read")

    dispatch |= dict.fromkeys((opcode[0] for opcode in REFUSED), load_refused) | {
        pickle.BUILD[0]: load_build,
        pickle.BYTEARRAY8[0]: load_bytearray8,
        pickle.DICT[0]: load_dict,
        pickle.SETITEM[0]: load_setitem,
        pickle.SETITEMS[0]: load_setitems,
    }
