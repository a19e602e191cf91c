"""COCO instance JSON written as a stream, however many images it names."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

import msgspec


class CocoWriter:
    """Takes images with their instances one by one, and writes them as one file at the end.

    What comes in goes straight to two unnamed files beside the output; only the names of the categories are held.
    """

    def __init__(self, folder: Path) -> None:
        """`folder` holds the output, and meanwhile the unnamed files."""
        self._images: IO[bytes] = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115  # closed by __exit__
        self._annotations: IO[bytes] = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115
        self._categories: dict[str, int] = {}
        self.num_images = 0
        self.num_annotations = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._images.close()
        self._annotations.close()

    @property
    def category_names(self) -> list[str]:
        """The categories so far, in order of their ids."""
        return list(self._categories)

    def add(self, image: Mapping[str, Any], instances: Iterable[tuple[str, Mapping[str, Any]]]) -> int:
        """Take in an image and its instances, each the name of its category and its fields; return the image's id.

        Ids are given here, from 1: of images, annotations and categories.
        """
        self.num_images += 1
        _append(self._images, {"id": self.num_images, **image}, first=self.num_images == 1)
        for name, fields in instances:
            self.num_annotations += 1
            category = self._categories.setdefault(name, len(self._categories) + 1)
            ids = {"id": self.num_annotations, "image_id": self.num_images, "category_id": category}
            _append(self._annotations, {**ids, **fields}, first=self.num_annotations == 1)
        return self.num_images

    def write(self, path: Path, *, info: Mapping[str, Any]) -> None:
        """Write the file."""
        categories = [{"id": number, "name": name} for name, number in self._categories.items()]
        with path.open("wb") as output:
            output.write(b'{"info": ' + msgspec.json.encode(info))
            for name, part in (("images", self._images), ("annotations", self._annotations)):
                output.write(f',\n"{name}": [\n'.encode("ascii"))
                part.seek(0)
                shutil.copyfileobj(part, output)
                output.write(b"\n]")
            output.write(b',\n"categories": ' + msgspec.json.encode(categories) + b"}\n")


def _append(stream: IO[bytes], record: Mapping[str, Any], *, first: bool) -> None:
    stream.write((b"" if first else b",\n") + msgspec.json.encode(record))
