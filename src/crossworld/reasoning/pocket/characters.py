"""Character tokenizer of the pocket reasoner, in the file format of the `tokenizers` library.

The file `weights/tokenizer.json` is read here with the standard library alone, and loads as it is
into `transformers.PreTrainedTokenizerFast`.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from crossworld.errors import DesignError

__all__ = ["ALPHABET", "CharacterTokenizer", "tokenizer_json"]

SPECIALS: Final[tuple[str, ...]] = ("<pad>", "<eos>", "<unk>")
ALPHABET: Final = "\n +=:." + "0123456789" + "abcdefghijklmnopqrstuvwxyz"


@dataclass(frozen=True, slots=True)
class CharacterTokenizer:
    """One token for each character.

    Parameters
    ----------
    vocabulary : dict of str to int
        Number of every token.

    Examples
    --------
    >>> tokenizer = CharacterTokenizer.of_alphabet()
    >>> tokenizer.decode(tokenizer.encode("3+8=1"))
    '3+8=1'
    """

    vocabulary: dict[str, int]

    @classmethod
    def of_alphabet(cls) -> CharacterTokenizer:
        """Tokenizer with the special tokens first, then `ALPHABET`."""
        return cls({token: index for index, token in enumerate((*SPECIALS, *ALPHABET))})

    @classmethod
    def from_file(cls, path: str | Path) -> CharacterTokenizer:
        """Read the vocabulary of a `tokenizer.json`."""
        held = json.loads(Path(path).read_text(encoding="utf-8"))
        return cls({str(token): int(index) for token, index in held["model"]["vocab"].items()})

    @property
    def pad(self) -> int:
        """Number of the padding token."""
        return self.vocabulary["<pad>"]

    @property
    def eos(self) -> int:
        """Number of the token that ends a text."""
        return self.vocabulary["<eos>"]

    @property
    def alphabet(self) -> str:
        """Every character it knows."""
        return "".join(token for token in self.vocabulary if token not in SPECIALS)

    def encode(self, text: str) -> list[int]:
        """Token numbers of a text.

        Raises
        ------
        DesignError
            For characters that the model has never seen.
        """
        unknown = sorted({char for char in text if char not in self.vocabulary})
        if unknown:
            raise DesignError(
                f"the pocket reasoner reads lower-case letters, digits and '+=:.', not "
                f"{', '.join(map(repr, unknown))}"
            )
        return [self.vocabulary[char] for char in text]

    def decode(self, numbers: Sequence[int]) -> str:
        """Text of token numbers; special tokens give nothing."""
        names = {index: token for token, index in self.vocabulary.items()}
        return "".join(names[int(n)] for n in numbers if names[int(n)] not in SPECIALS)


def tokenizer_json() -> dict[str, Any]:
    """Contents of `tokenizer.json`: a word-level model over single characters."""
    vocabulary = CharacterTokenizer.of_alphabet().vocabulary
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [
            {
                "id": vocabulary[token],
                "content": token,
                "single_word": False,
                "lstrip": False,
                "rstrip": False,
                "normalized": False,
                "special": True,
            }
            for token in SPECIALS
        ],
        "normalizer": None,
        "pre_tokenizer": {
            "type": "Split",
            "pattern": {"Regex": "[\\s\\S]"},
            "behavior": "Isolated",
            "invert": False,
        },
        "post_processor": None,
        "decoder": {"type": "Fuse"},
        "model": {"type": "WordLevel", "vocab": vocabulary, "unk_token": "<unk>"},
    }
