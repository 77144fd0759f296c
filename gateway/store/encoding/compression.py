"""Bodies and values in fewer bytes: zstd (RFC 8878) with dictionaries trained on Stripe's events.

What is compressed begins with MARK and the number of its dictionary; then comes a frame with its length and checksum. A
number stays readable for ever: its file in dictionaries/ is never changed; `make dictionary` writes the next one.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Sequence
from importlib.resources import files
from typing import TYPE_CHECKING

from gateway.core.errors import StoreDamaged

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

MARK = b"\x00gz"  # no JSON begins so, and nothing that is sealed
BODIES, VALUES = 1, 2  # the numbers of the dictionaries that compress, the newest of each kind
AS_IT_IS = 0  # instead of a dictionary's number: what follows is not compressed, and merely began with MARK itself
LEVEL = 3
_HEAD = len(MARK) + 1
_LEAST_BYTES = 64  # below, the frame's head and checksum outweigh what is saved

if TYPE_CHECKING:
    Compressor = zstd.ZstdCompressor
    Dictionary = zstd.ZstdDict


def dictionary_name(number: int) -> str:
    """The file of a dictionary, in dictionaries/."""
    return f"{number}.zdict"


@functools.cache
def _dictionary(number: int) -> Dictionary:
    """Raises FileNotFoundError."""
    file = files("gateway.store.encoding").joinpath("dictionaries", dictionary_name(number))
    return zstd.ZstdDict(file.read_bytes())


@functools.cache
def _compressor(number: int) -> Compressor:
    """With a dictionary that no frame names: the number before it does."""
    options: dict[int, int] = {
        zstd.CompressionParameter.compression_level: LEVEL,
        zstd.CompressionParameter.checksum_flag: 1,
        zstd.CompressionParameter.dict_id_flag: 0,
    }
    return zstd.ZstdCompressor(options=options, zstd_dict=_dictionary(number).as_digested_dict)


def train(samples: Sequence[bytes], trained_bytes: int, ending: bytes) -> bytes:
    """A dictionary's file: so much that is trained on the samples, then `ending`. The same for the same samples."""
    content = zstd.train_dict(samples, trained_bytes).dict_content + ending
    return zstd.finalize_dict(zstd.ZstdDict(content, is_raw=True), samples, len(content) + 2048, LEVEL).dict_content


def pack(plain: bytes, number: int, *, marks: bool = False) -> bytes:
    """The bytes as they are to be kept: compressed with that dictionary, where it is one and saves something. `marks`:
    what is not compressed begins with MARK too.
    """
    if number != AS_IT_IS and len(plain) >= _LEAST_BYTES:
        packed = b"".join(
            (MARK, bytes((number,)), _compressor(number).compress(plain, zstd.ZstdCompressor.FLUSH_FRAME))
        )
        if len(packed) < len(plain):
            return packed
    return b"".join((MARK, bytes((AS_IT_IS,)), plain)) if marks or plain.startswith(MARK) else plain


def is_packed(kept: bytes) -> bool:
    """Whether the bytes are not kept as they are."""
    return kept.startswith(MARK)


def packed_with(kept: bytes) -> int | None:
    """The number of the dictionary that the bytes are compressed with."""
    return kept[_HEAD - 1] if kept.startswith(MARK) and len(kept) >= _HEAD else None


def unpack(kept: bytes, *belongs_to: str) -> bytes:
    """The bytes as they were given, never more than the frame says that they are. Raises StoreDamaged, which names what
    they belong to.
    """
    if not kept.startswith(MARK):
        return kept
    number, frame = packed_with(kept), kept[_HEAD:]
    if number == AS_IT_IS:
        return frame
    try:
        dictionary = _dictionary(number or 0)
    except FileNotFoundError:
        raise StoreDamaged(
            f"what is stored of {' '.join(belongs_to)} is compressed with dictionary {number or '?'}, which this "
            "program lacks: a newer gateway wrote it (install that one), or it is damaged (restore it from a backup)"
        ) from None
    try:
        size: int | None = zstd.get_frame_info(frame).decompressed_size
        decompressor = zstd.ZstdDecompressor(dictionary)
        plain = b"" if size is None else decompressor.decompress(frame, max_length=size + 1)
        is_whole = decompressor.eof and len(plain) == size and not decompressor.unused_data
    except (zstd.ZstdError, OverflowError):
        is_whole = False
    if not is_whole:
        raise StoreDamaged(
            f"what is stored of {' '.join(belongs_to)} does not decompress: it is damaged; restore it from a backup"
        )
    return plain


def plain_or_nothing(kept: bytes) -> bytes:
    """The same for a search: nothing is found in what is damaged."""
    try:
        return unpack(kept)
    except StoreDamaged:
        return b""
