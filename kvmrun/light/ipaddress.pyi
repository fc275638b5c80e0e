from ipaddress import IPv4Address as IPv4Address
from ipaddress import IPv4Interface as IPv4Interface
from ipaddress import IPv4Network as IPv4Network
from ipaddress import IPv6Network as IPv6Network
