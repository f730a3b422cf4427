"""Remove the debugging symbols of compiled packages while the service's image is built.

    python -m textserve.bento.symbols FOLDER

Many wheels contain such symbols. The image has no `strip`, and installing binutils would add more than it saves. The
loader of programs reads the segments of an ELF file. Its sections, which include all symbols for debuggers, follow, so
the file can end after the last segment, as `sstrip` of ELFkickers ends it. Files whose segments were moved to the end,
as by auditwheel, stay as they are.
"""

from __future__ import annotations

import struct
import sys
from pathlib import Path

# 64 bits, little endian: linux/amd64 and linux/arm64.
ELF = b"\x7fELF\x02\x01"
# https://refspecs.linuxfoundation.org/elf/gabi4+/ch4.eheader.html: e_phoff, e_shoff, e_flags, e_ehsize, e_phentsize,
# e_phnum, e_shentsize, e_shnum, e_shstrndx
HEADER = struct.Struct("<QQIHHHHHH")
HEADER_AT = 32
# p_type, p_flags, p_offset, p_vaddr, p_paddr, p_filesz
SEGMENT = struct.Struct("<IIQQQQ")


def strip(path: Path) -> int:
    """Cut off what follows the segments of the ELF file at ``path``; return the bytes removed, 0 for other files."""
    content = path.read_bytes()
    if not content.startswith(ELF):
        return 0
    first, _, flags, header, size, count, *_ = HEADER.unpack_from(content, HEADER_AT)
    segments = [SEGMENT.unpack_from(content, first + size * index) for index in range(count)]
    end: int = max(first + size * count, *(offset + length for _, _, offset, _, _, length in segments))
    if end >= len(content):
        return 0
    without_sections = HEADER.pack(first, 0, flags, header, size, count, 0, 0, 0)
    path.write_bytes(content[:HEADER_AT] + without_sections + content[HEADER_AT + HEADER.size : end])
    return len(content) - end


def main() -> None:
    """Strip the shared libraries below the folder that the command names."""
    libraries = [path for path in Path(sys.argv[1]).rglob("*.so*") if path.is_file() and not path.is_symlink()]
    print(f"debugging symbols: {sum(map(strip, libraries)) / 1e6:.1f} MB removed")  # noqa: T201  # for the log of the build


if __name__ == "__main__":
    main()
