"""Moving a CRC-32C along with a change, without reading what did not change.

A CRC is linear: two messages of equal length differ in it by the CRC (begun and ended with 0) of
their difference. Where they differ in front only, that is the front's difference carried through as
many zero bytes as follow, and carrying through 2^n bytes is one multiplication by a constant matrix
over GF(2). Four table look-ups apply it to a register.
"""

import functools

_POLYNOMIAL = 0x82F63B78


_Tables = tuple[tuple[int, ...], ...]


@functools.cache
def _zeros(power: int) -> _Tables:
    """Four tables that carry a register through 2^``power`` zero bytes."""
    if power == 0:
        columns = []
        for bit in range(32):
            register = 1 << bit
            for _ in range(8):
                register = (register >> 1) ^ (_POLYNOMIAL if register & 1 else 0)
            columns.append(register)
    else:
        half = _zeros(power - 1)
        columns = [_apply(half, _apply(half, 1 << bit)) for bit in range(32)]
    tables = []
    for byte in range(4):
        table = [0]
        for bit in range(8):
            table += [entry ^ columns[8 * byte + bit] for entry in table]
        tables.append(tuple(table))
    return tuple(tables)


def _apply(tables: _Tables, register: int) -> int:
    first, second, third, fourth = tables
    return (
        first[register & 0xFF]
        ^ second[register >> 8 & 0xFF]
        ^ third[register >> 16 & 0xFF]
        ^ fourth[register >> 24]
    )


def carried(register: int, zeros: int) -> int:
    """A CRC-32C register, begun and ended with 0, after ``zeros`` more zero bytes."""
    power = 0
    while zeros:
        if zeros & 1:
            register = _apply(_zeros(power), register)
        zeros >>= 1
        power += 1
    return register
