"""How tests unpack a tar file: with Python's filter of what leaves the folder, which 3.11 has from 3.11.4 on."""

import tarfile

SAFELY = {"filter": "data"} if hasattr(tarfile, "data_filter") else {}
