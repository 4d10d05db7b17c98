"""Find and erase a client's own address in the other fields of its event. Pure: no I/O.

Every digit of the address becomes 0. The length of the field stays. The package finds these spellings. It also finds
them when they are percent-encoded, once or several times:

    IPv4  four decimal numbers, separated by . - _ or :, in either order (83.149.9.216, 216-9-149-83)
          one decimal number, eight hexadecimal digits, or two groups of an IPv6 address (::ffff:5395:9d8)
    IPv6  every text form of RFC 4291, in upper or lower case, with or without brackets, port and zone
          one decimal number, 32 hexadecimal digits, the groups separated by -, the form of ip6.arpa

An IPv6 address can embed an IPv4 address (6to4, Teredo, NAT64, ISATAP, IPv4-compatible). The embedded address is
erased as well. In a field of over 8,192 bytes, numbers with separators that only look like the address are also erased,
because an exact search takes too long. Digits without separators stay unless they spell the address. The package does
not find octal numbers, numbers of the form 0x53.0x95, and encodings such as Base64.
"""

from services.backbone.addresses.event_fields import erase_address
from services.backbone.addresses.patterns import OwnAddress, own_address

__all__ = ["OwnAddress", "erase_address", "own_address"]
