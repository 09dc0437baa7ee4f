"""Files with a hole: they look large and take next to no room. One seam, for Windows has to be asked."""

import sys
from typing import BinaryIO

if sys.platform == "win32":
    import ctypes
    import msvcrt
    from ctypes import wintypes

    _FSCTL_SET_SPARSE = 0x900C4

    def extend(file: BinaryIO, size_bytes: int) -> None:
        """Makes the file end at `size_bytes`; what it gains reads as zeros and takes no room. Raises OSError."""
        kernel32 = ctypes.WinDLL("kernel32", use_last_error=True)
        handle = wintypes.HANDLE(msvcrt.get_osfhandle(file.fileno()))
        returned_bytes = wintypes.DWORD()
        if not kernel32.DeviceIoControl(
            handle, _FSCTL_SET_SPARSE, None, 0, None, 0, ctypes.byref(returned_bytes), None
        ):
            raise ctypes.WinError(ctypes.get_last_error())
        file.truncate(size_bytes)

else:

    def extend(file: BinaryIO, size_bytes: int) -> None:
        """Makes the file end at `size_bytes`; what it gains reads as zeros and takes no room. Raises OSError."""
        file.truncate(size_bytes)
