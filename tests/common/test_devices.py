"""Names of devices, of one side and of two."""

from __future__ import annotations

import pytest

from paritree.common.devices import device_names, numbered, one_device, sides_devices
from paritree.common.errors import UsageError


@pytest.mark.parametrize(
    ("name", "reference", "port"),
    [
        ("cpu", "cpu", "cpu"),
        ("cuda:0", "cuda", "cuda"),
        ("cuda:1", "cuda:1", "cuda:1"),
        ("cpu:cuda", "cpu", "cuda"),
        ("cpu:1:tpu", "cpu:1", "tpu"),
        ("cuda:mps:2", "cuda", "mps:2"),
        ("cuda:1:cuda:2", "cuda:1", "cuda:2"),
    ],
)
def test_a_name_is_of_one_device_or_of_two(name: str, reference: str, port: str) -> None:
    assert sides_devices(name) == (reference, port)


def test_each_device_is_named_once_and_in_one_way() -> None:
    assert device_names(["cpu:cpu", "cpu", "cuda:0:cuda:1", "cuda:cuda:1"]) == ("cpu", "cuda:cuda:1")
    assert numbered("cuda", 3) == ("cuda", "cuda:1", "cuda:2")
    assert sides_devices("cpu:1:cuda").kinds == {"cpu", "cuda"}


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("cud", "cud: expected the name of a device, found 'cud', which is none. Did you mean 'cuda'?"),
        ("cpu:cud", "cpu:cud: expected the name of a device, found 'cud', which is none. Did you mean 'cuda'?"),
        ("1:cpu", "1:cpu: expected the name of a device, found '1', which is none. There are 'cpu', 'cuda', 'rocm', "),
        ("cuda:", "cuda:: expected the name of a device, found '', which is none. "),
        ("cuda:-1", "cuda:-1: expected the name of a device, found '-1', which is none. "),
        ("gpu", "gpu: expected the name of a device, found 'gpu', which is none. JAX's 'gpu' is 'cuda', or 'rocm' "),
        (
            "cpu:cuda:tpu",
            "cpu:cuda:tpu: expected one device, or the reference's and the port's, found 3. Write 'cpu:cuda'.",
        ),
    ],
)
def test_what_is_no_device_is_refused_with_the_nearest_that_is(name: str, text: str) -> None:
    with pytest.raises(UsageError) as refused:
        sides_devices(name)
    assert str(refused.value).startswith(text)


def test_where_there_is_one_side_there_is_one_device() -> None:
    assert one_device("cuda:0") == "cuda"
    with pytest.raises(UsageError) as refused:
        one_device("cpu:cuda")
    assert str(refused.value) == "cpu:cuda: expected the name of one device, found 2. Write 'cpu': there is one side."
