"""IPv4 addresses and networks as numbers: `ipaddress` brings functools, 3 ms with it. IPv6 is the whole one's."""

from _socket import AF_INET, inet_ntop, inet_pton

_ALL = 0xFFFFFFFF


class IPv4Address:
    __slots__ = ("_number",)

    def __init__(self, given):
        self._number = _number(given)

    def __int__(self):
        return self._number

    def __str__(self):
        return inet_ntop(AF_INET, self._number.to_bytes(4, "big"))

    def __repr__(self):
        return f"{type(self).__name__}('{self}')"

    def __eq__(self, other):
        return self._number == other._number if type(other) is type(self) else NotImplemented

    def __hash__(self):
        return hash(self._number)

    def __lt__(self, other):
        return self._number < other._number if type(other) is type(self) else NotImplemented

    def __le__(self, other):
        return self._number <= other._number if type(other) is type(self) else NotImplemented

    def __add__(self, count):
        return IPv4Address(self._number + count)

    def __sub__(self, count):
        return IPv4Address(self._number - count)


class _Written:
    """What is equal when it is written alike."""

    __slots__ = ()

    def __repr__(self):
        return f"{type(self).__name__}('{self}')"

    def __eq__(self, other):
        return str(self) == str(other) if type(other) is type(self) else NotImplemented

    def __hash__(self):
        return hash(str(self))


class IPv4Network(_Written):
    """From "192.168.0.0/24", or (address, prefix length); bits of a host below the prefix are refused."""

    __slots__ = ("network_address", "prefixlen")

    def __init__(self, given):
        self.network_address, self.prefixlen = _split(given)
        if int(self.network_address) & ~_mask(self.prefixlen):
            raise ValueError(f"{given} has host bits set")

    @property
    def netmask(self):
        return IPv4Address(_mask(self.prefixlen))

    @property
    def num_addresses(self):
        return 1 << (32 - self.prefixlen)

    @property
    def broadcast_address(self):
        return self.network_address + (self.num_addresses - 1)

    def __getitem__(self, place):
        count = self.num_addresses
        if not -count <= place < count:
            raise IndexError("no such address")
        return self.network_address + place % count

    def __contains__(self, address):
        return int(address) & _mask(self.prefixlen) == int(self.network_address)

    def subnet_of(self, other):
        return self.prefixlen >= other.prefixlen and self.network_address in other

    def overlaps(self, other):
        return self.subnet_of(other) or other.subnet_of(self)

    def __str__(self):
        return f"{self.network_address}/{self.prefixlen}"


class IPv4Interface(_Written):
    """An address with the length of its network's prefix, from "192.168.0.254/24" or both as a pair."""

    __slots__ = ("ip", "network")

    def __init__(self, given):
        self.ip, length = _split(given)
        self.network = IPv4Network((int(self.ip) & _mask(length), length))

    @property
    def netmask(self):
        return self.network.netmask

    def __str__(self):
        return f"{self.ip}/{self.network.prefixlen}"


class IPv6Network:
    """The whole one, loaded by the first lab that has such a network."""

    def __new__(cls, given):
        from ipaddress import IPv6Network as Whole

        return Whole(given)


def _number(given):
    if isinstance(given, IPv4Address):
        return int(given)
    if isinstance(given, int):
        if 0 <= given <= _ALL:
            return given
        raise ValueError(f"{given} is no IPv4 address")
    try:
        return int.from_bytes(inet_pton(AF_INET, given), "big")
    except OSError:
        raise ValueError(f"{given!r} is no IPv4 address") from None


def _split(given):
    """(address, prefix length) of a text or a pair; a network without a length is of one address."""
    address, length = given if isinstance(given, tuple) else ((*given.split("/", 1), 32)[:2])
    return IPv4Address(address), _length(length)


def _length(given):
    """The prefix length, which may be written as a mask or its inverse."""
    if isinstance(given, str) and not (given.isascii() and given.isdigit()):
        mask = _number(given)
        inverse = mask ^ _ALL if mask >> 31 or not mask else mask
        given = 32 - inverse.bit_length()
        if inverse & (inverse + 1):
            raise ValueError(f"{given} is no mask")
    if not 0 <= int(given) <= 32:
        raise ValueError(f"{given} is no length of a prefix")
    return int(given)


def _mask(length):
    return _ALL ^ (_ALL >> length)
