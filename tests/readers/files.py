"""Files written and read back in the tests of the readers."""

import gzip

from ablate.readers.tables import read_tables


def write(path, text):
    path.write_bytes(gzip.compress(text.encode()) if path.suffix == ".gz" else text.encode())
    return path


def read(path, content, **options):
    return read_tables([write(path, content)], **options)
