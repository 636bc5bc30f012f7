"""Descriptions of inputs for Python: `elman.Text`, `elman.Audio` and so on, with settings.

A description is a kind of input and settings that this input alone has.  As a text it is the end of
the string that `inputs` stores, see `elman.inputs.declared`.  The arguments of a description are
the settings that its kind reads, see `elman.inputs.settings.READS`; those that are not given are
the settings of the model.  This file does not import torch.
"""

from __future__ import annotations

import inspect
from dataclasses import FrozenInstanceError, dataclass, fields
from typing import Any, ClassVar

from elman.arguments import check_type, hints_of, plain
from elman.inputs.declared import write_settings
from elman.inputs.settings import READS, InputSettings, check_own


@dataclass(init=False, repr=False, unsafe_hash=True)
class Description:
    """One kind of input with its own settings; a kind is a subclass without fields.

    Args:
        settings: the own settings, by name.

    Raises:
        ArgumentError: the kind has no such setting, or its value has another type.
    """

    kind: ClassVar[str]
    settings: tuple[tuple[str, Any], ...]

    def __init_subclass__(cls) -> None:
        """Show the settings of the kind as arguments, for `help` and for completion."""
        known = {field.name: field for field in fields(InputSettings)}
        cls.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
            [
                inspect.Parameter(
                    name,
                    inspect.Parameter.KEYWORD_ONLY,
                    default=known[name].default,
                    annotation=known[name].type,
                )
                for name in READS[cls.kind]
            ]
        )

    def __init__(self, **settings: Any) -> None:
        check_own(self.kind, settings, READS[self.kind])
        hints, found = hints_of(InputSettings), {}
        for name in READS[self.kind]:
            if name in settings:
                hint = hints[name][0]
                found[name] = plain(settings[name], str(hint))
                check_type(found[name], hint, name)
        write_settings(found)  # raises for a value that cannot be written
        vars(self)["settings"] = tuple(found.items())

    def __setattr__(self, name: str, value: object) -> None:
        """Raise an error: a description does not change."""
        raise FrozenInstanceError(f"{name} of a description cannot be set; make a new one")

    def __str__(self) -> str:
        """Return the kind and its settings as they are stored."""
        return self.kind + write_settings(dict(self.settings))

    def __repr__(self) -> str:
        settings = ", ".join(f"{name}={value!r}" for name, value in self.settings)
        return f"{type(self).__name__}({settings})"


class Text(Description):
    """A text, which is read as tokens.

    Example:
        >>> import elman
        >>> table = {"title": ["so good", "so bad"] * 20, "code": ["ab", "ba"] * 20}
        >>> model = elman.Classifier(
        ...     inputs={"title": elman.Text(), "code": elman.Text(tokens="character", min_count=1)},
        ...     hidden_size=8,
        ...     epochs=1,
        ...     device="cpu",
        ... )
        >>> model.inputs
        ('title:text', 'code:text,tokens=character,min_count=1')
        >>> model.fit(table, [1, 0] * 20).predict({"title": ["good"], "code": ["ab"]}).shape
        (1,)
    """

    kind = "text"


class Words(Description):
    """A sentence, which is read as words and their characters.

    Example:
        >>> import elman
        >>> elman.Tagger(inputs=elman.Words(character_size=16)).inputs
        ('words,character_size=16',)
    """

    kind = "words"


class Recordings(Description):
    """Recordings: channels over time, such as those of a sensor.

    Example:
        >>> import elman
        >>> elman.Classifier(inputs=elman.Recordings(channels=["x", "y"], rate=50)).inputs
        ('recordings,channels=x,channels=y,rate=50',)
    """

    kind = "recordings"


class Audio(Description):
    """A clip of sound: the path of an audio file, or samples and their rate.

    Example:
        >>> import elman
        >>> near, far = elman.Audio(sample_rate=16_000), elman.Audio(running_norm="mean")
        >>> elman.Classifier(inputs={"near": near, "far": far}).inputs
        ('near:audio,sample_rate=16000', 'far:audio,running_norm=mean')
        >>> elman.Audio(sample_rat=16_000)
        Traceback (most recent call last):
        elman.errors.ArgumentError: audio has no setting 'sample_rat'; did you mean 'sample_rate'?
    """

    kind = "audio"


class Image(Description):
    """An image: the path of an image file, or an array.

    Example:
        >>> import elman
        >>> photo, scan = elman.Image(mirror=True), elman.Image(colour=False, image_height=32)
        >>> elman.Classifier(inputs={"photo": photo, "scan": scan}).inputs
        ('photo:image,mirror=true', 'scan:image,image_height=32,colour=false')
    """

    kind = "image"


class Number(Description):
    """A number, such as an age.

    Example:
        >>> import elman
        >>> age, price = elman.Number(), elman.Number(decimal=",")
        >>> elman.Classifier(inputs={"age": age, "price": price}).inputs
        ('age:number', 'price:number,decimal=,')
    """

    kind = "number"


class Category(Description):
    """A category, such as a colour.

    Example:
        >>> import elman
        >>> elman.Classifier(inputs={"colour": elman.Category(), "review": elman.Text()}).inputs
        ('colour:category', 'review:text')
    """

    kind = "category"
