"""Pickles of NumPy arrays and plain values, read without executing the functions that they name.

A pickle is a program: it can call any function by name. To allow NumPy's own functions is not safe, since NumPy trusts
the data type that a pickle describes: a false one turns the pickle's bytes into pointers. So no function that a pickle
names is called. Functions of this module replace the few that build arrays, and they build arrays of numbers only.

The length of a pickle bounds its cost: opcodes that allocate in advance are refused, bytes are counted each time that
they are copied, and keys are plain values that hash fast.
"""

import math
import pickle
import re
from collections.abc import Callable
from typing import BinaryIO, ClassVar

import numpy as np

# Booleans, integers and floats in NumPy's notation: kind and number of bytes.
_NUMBERS = re.compile(r"[biuf][0-9]{1,2}")
_MAX_KEY = 2**60
_KEYS = (str, bytes, int, float, type(None))  # bool is an int
# Two functions at most copy the bytes of an array; a small file may copy its bytes more often.
_COPIES, _FREE_BYTES = 4, 1 << 16


class _Dtype:
    """Replaces numpy.dtype, whose state a pickle sets after its construction."""

    def __init__(self, code: str, align: bool = False, copy: bool = False):
        if not isinstance(code, str) or not _NUMBERS.fullmatch(code):
            raise pickle.UnpicklingError(f"it holds an array of {code!r}, and only arrays of numbers are read")
        self.dtype = np.dtype(code)

    def set_state(self, state: tuple) -> None:
        """Take the byte order and ignore the rest."""
        self.dtype = self.dtype.newbyteorder(state[1])


class PlainUnpickler(pickle._Unpickler):
    """Reads NumPy arrays and plain values, from Python 2 as well; raises for other objects before they are built.

    It extends Python's unpickler written in Python, because the one in C sets an object's state without a hook. Both
    read the bytes of an array at once.
    """

    # Objects with a state, extensions, sets, and values from outside the file.
    REFUSED = (
        *(pickle.OBJ, pickle.NEWOBJ, pickle.NEWOBJ_EX, pickle.EXT1, pickle.EXT2, pickle.EXT4),
        *(pickle.EMPTY_SET, pickle.ADDITEMS, pickle.FROZENSET),
        *(pickle.PERSID, pickle.BINPERSID, pickle.NEXT_BUFFER, pickle.READONLY_BUFFER),
    )
    dispatch: ClassVar[dict[int, Callable]] = dict(pickle._Unpickler.dispatch)

    def __init__(self, file: BinaryIO, num_bytes: int):
        """Read a file of `num_bytes` bytes; its `read` must not allocate more bytes than the file has."""
        super().__init__(file, encoding="latin1")
        self.budget = _FREE_BYTES + _COPIES * num_bytes
        stand_ins = {
            ("numpy", "dtype"): _Dtype,
            ("numpy", "ndarray"): "numpy.ndarray",  # an argument of _reconstruct, which does not call it
            ("_codecs", "encode"): self._encode,
            ("__builtin__", "bytes"): self._no_bytes,
            ("builtins", "bytes"): self._no_bytes,
        }
        for core in ("numpy.core", "numpy._core"):  # NumPy 1 and 2
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
        """Replace `_codecs.encode`, with which pickles of protocol 2 store bytes."""
        if encoding != "latin1":
            raise pickle.UnpicklingError(f"it holds bytes in encoding {encoding!r}")
        self._spend(len(text))
        return text.encode(encoding)

    def _no_bytes(self) -> bytes:
        """Replace `bytes()`, with which pickles of protocol 2 store empty bytes."""
        return b""

    def _bytes(self, raw: bytes | bytearray | str) -> bytes | bytearray:
        """Return the bytes of an array, which Python 2 wrote as a string."""
        self._spend(len(raw))
        return raw.encode("latin1") if isinstance(raw, str) else raw

    def _reconstruct(self, array_type: object, shape: tuple, code: bytes) -> np.ndarray:
        """Make an empty array; `load_build` sets its state."""
        return np.empty(0, np.uint8)

    def _scalar(self, dtype: _Dtype, raw: bytes | str) -> np.generic:
        raw = self._bytes(raw)
        if len(raw) != dtype.dtype.itemsize:
            raise pickle.UnpicklingError(f"it holds a {dtype.dtype} of {len(raw)} bytes")
        return np.frombuffer(raw, dtype.dtype)[0]

    def _frombuffer(self, raw: bytes, dtype: _Dtype, shape: tuple, order: str, axes: tuple | None = None) -> np.ndarray:
        """Make an array as protocol 5 does; for order K, `axes` maps the axes of the array to those of the bytes."""
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

    def load_put(self) -> None:
        """Number an object for later use, with a number that its hash identifies."""
        index = int(self.readline()[:-1])
        if not 0 <= index < _MAX_KEY:
            raise pickle.UnpicklingError(f"it numbers an object {index}")
        self.memo[index] = self.stack[-1]

    def load_bytearray8(self) -> None:
        """Read a bytearray without allocating the length that the pickle states."""
        (length,) = np.frombuffer(self.read(8), "<u8").tolist()
        self.append(bytearray(self.read(length)))

    def _fill(self, target: object, items: list) -> None:
        keys = items[::2]
        if type(target) is not dict or not all(isinstance(key, _KEYS) for key in keys):
            raise pickle.UnpicklingError("it holds a dictionary whose keys are neither text nor numbers")
        # Larger integers can share one hash, and time would grow with the square of their number.
        if any(isinstance(key, int) and abs(key) >= _MAX_KEY for key in keys):
            raise pickle.UnpicklingError(f"it holds a dictionary with an integer key of {_MAX_KEY} or more")
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
        """Refuse an opcode that neither arrays nor plain values need."""
        raise pickle.UnpicklingError("it holds an object, and only NumPy arrays and plain values are read")

    dispatch |= dict.fromkeys((opcode[0] for opcode in REFUSED), load_refused) | {
        pickle.BUILD[0]: load_build,
        pickle.BYTEARRAY8[0]: load_bytearray8,
        pickle.DICT[0]: load_dict,
        pickle.PUT[0]: load_put,
        pickle.SETITEM[0]: load_setitem,
        pickle.SETITEMS[0]: load_setitems,
    }
