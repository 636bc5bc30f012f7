"""Read word vectors from a file in the usual text formats.

    the 0.418 0.24968 -0.41242 ...      a word and its D numbers per line (GloVe)
    400000 300                          optional first line with count and D (word2vec, fastText)

.gz files are unpacked while reading.  Words must be spelt as in the vocabulary; if a word is
repeated, its first vector is used.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from elman.arguments import is_unicode
from elman.encode.text import Vocabulary
from elman.errors import ArgumentError, DataError
from elman.read.text import text_lines


def read_vectors(path: Path, vocabulary: Vocabulary) -> tuple[Tensor, Tensor]:
    """Return float32 vectors (V, D), zeros for missing words, and a mask (V) of the words found.

    Raises:
        DataError: the file is missing, a line is not a vector, or no word is in the vocabulary.
        ArgumentError: the vocabulary does not consist of words.

    Example:
        >>> import tempfile
        >>> from pathlib import Path
        >>> from elman.encode.text import Vocabulary
        >>> from elman.encode.vectors import read_vectors
        >>> words = Vocabulary.build(lambda: ["cat dog"], tokens="word")
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     file = Path(folder, "vectors.txt")
        ...     _ = file.write_text("cat 1 2\\nhen 3 4\\n")
        ...     vectors, found = read_vectors(file, words)
        >>> vectors[words.encode("cat")].tolist(), int(found.sum())
        ([[1.0, 2.0]], 1)
    """
    if vocabulary.tokens != "word":
        raise ArgumentError(f"vectors are for tokens=word, but tokens={vocabulary.tokens}")
    vectors: Tensor | None = None
    found = torch.zeros(vocabulary.size, dtype=torch.bool)
    for number, line in enumerate(text_lines(path, "utf-8", lambda _: None, lenient=True), 1):
        parts = line.rstrip().replace("\t", " ").split(" ")
        if number == 1 and len(parts) == 2:
            continue
        size = len(parts) - 1 if vectors is None else vectors.shape[1]
        word = " ".join(parts[:-size]) if size > 0 else ""
        if not word:
            raise DataError(
                f"{path}: line {number} is {line[:40]!r}; expected a word and {size or 'its'} "
                "numbers, with a space before each"
            )
        if vectors is None:
            vectors = torch.zeros(vocabulary.size, size, dtype=torch.float32)
        index = vocabulary.tokenizer.token_to_id(word) if is_unicode(word) else None
        if index is None or found[index]:
            continue
        try:
            values = np.array(parts[-size:], dtype=np.float32)
        except ValueError as error:
            raise DataError(f"{path}: line {number}: {error}; expected {size} numbers") from error
        if not np.isfinite(values).all():
            raise DataError(f"{path}: line {number}: a number is not finite")
        vectors[index] = torch.from_numpy(values)
        found[index] = True
    if vectors is None or not found.any():
        raise DataError(f"{path}: has no vector for any word of the vocabulary")
    return vectors, found
