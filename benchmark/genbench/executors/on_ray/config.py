"""Options of the executor `ray`. Imported where plans are made: ray is not."""

import socket
from typing import ClassVar

from pydantic import Field

from genbench.errors import UsageError
from genbench.executors.config import ExecutorConfig

_PATIENCE_SECONDS = 5.0
_CLIENT = "ray://"
_NAMES = ("auto", "local")


class RayConfig(ExecutorConfig):
    """Options of `ray`."""

    primary: ClassVar[str | None] = "address"
    usual_retries: ClassVar[int] = 3

    address: str | None = Field(
        default=None,
        min_length=1,
        description="cluster that steps run on: auto (the one that this machine belongs to), HOST:PORT, "
        "ray://HOST:PORT from outside it, or local, a cluster of --jobs cores on this machine that ends with "
        "the run [default: $RAY_ADDRESS, else local]",
    )
    gpu_share: float = Field(
        default=1.0,
        gt=0,
        le=1,
        description="share of a GPU that a step takes which computes on one: with 0.5, two share it",
    )

    def check_machine(self) -> None:
        """Refuse an address where nothing answers; which cluster `auto` means is known once it is joined."""
        if self.address is None or self.address in _NAMES:
            return
        host, port = self._host_and_port(self.address)
        try:
            socket.create_connection((host, port), _PATIENCE_SECONDS).close()
        except OSError as problem:
            raise no_cluster(self.address, str(problem)) from None

    def _host_and_port(self, address: str) -> tuple[str, int]:
        host, colon, port = address.removeprefix(_CLIENT).rpartition(":")
        if not colon or not host or not port.isdigit():
            raise UsageError(
                f"executor ray: address is {address!r}, not auto, local, HOST:PORT or ray://HOST:PORT",
                hint="--executor ray:address=auto   on a machine of the cluster; port 10001 is usual for ray://",
            )
        return host.strip("[]"), int(port)


def no_cluster(address: str, why: str) -> UsageError:
    """Return the error about an address where no cluster answers."""
    return UsageError(
        f"executor ray: no Ray cluster answers at address {address!r}: {why}",
        hint="ray start --head   starts one; --executor ray   needs none that runs already",
    )
