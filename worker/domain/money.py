"""Amounts are integers in minor units: their currencies, how they are written, and how to divide them fairly."""

from collections.abc import Sequence

MAX_MINOR = 2**53 - 1
MAX_SUM = 2**63 - 1  # a larger number fits into no message

_NO_DECIMALS = "BIF CLP DJF GNF ISK JPY KMF KRW PYG RWF UGX UYI VND VUV XAF XOF XPF"
_THREE_DECIMALS = "BHD IQD JOD KWD LYD OMR TND"
_FOUR_DECIMALS = "CLF UYW"
_TWO_DECIMALS = """
    AED AFN ALL AMD ANG AOA ARS AUD AWG AZN BAM BBD BDT BGN BMD BND BOB BOV BRL BSD BTN BWP BYN BZD CAD CDF CHE CHF
    CHW CNY COP COU CRC CUC CUP CVE CZK DKK DOP DZD EGP ERN ETB EUR FJD FKP GBP GEL GHS GIP GMD GTQ GYD HKD HNL HRK
    HTG HUF IDR ILS INR IRR JMD KES KGS KHR KPW KYD KZT LAK LBP LKR LRD LSL MAD MDL MGA MKD MMK MNT MOP MRU MUR MVR
    MWK MXN MXV MYR MZN NAD NGN NIO NOK NPR NZD PAB PEN PGK PHP PKR PLN QAR RON RSD RUB SAR SBD SCR SDG SEK SGD SHP
    SLE SLL SOS SRD SSP STN SVC SYP SZL THB TJS TMT TOP TRY TTD TWD TZS UAH USD USN UYU UZS VED VES WST XCD XCG YER
    ZAR ZMW ZWG ZWL
"""

EXPONENTS: dict[str, int] = {
    code: exponent
    for exponent, codes in ((0, _NO_DECIMALS), (2, _TWO_DECIMALS), (3, _THREE_DECIMALS), (4, _FOUR_DECIMALS))
    for code in codes.split()
}


def to_major(minor: int, currency: str) -> str:
    """The amount in major units, written from its digits: 61400 USD is `614.00`, 5 JPY is `5`."""
    exponent = EXPONENTS[currency]
    if exponent == 0:
        return str(minor)
    sign, digits = ("-", str(-minor)) if minor < 0 else ("", str(minor))
    digits = digits.rjust(exponent + 1, "0")
    return f"{sign}{digits[:-exponent]}.{digits[-exponent:]}"


def half_even(numerator: int, denominator: int) -> int:
    """The quotient of two non-negative integers, rounded to the nearest; a tie goes to the even neighbour."""
    quotient, rest = divmod(numerator, denominator)
    if 2 * rest > denominator or (2 * rest == denominator and quotient % 2):
        return quotient + 1
    return quotient


def proportional(amount: int, part: int, whole: int) -> int:
    """The share of `amount` that belongs to `part` of `whole`: all of it for the whole, else rounded half to even."""
    return amount if part >= whole else half_even(amount * part, whole)


def divided(amount: int, weights: Sequence[int]) -> list[int]:
    """Shares of `amount` by `weights`: whole, never negative, exact in sum; the largest remainders come first."""
    total = sum(weights)
    if total == 0:
        return [amount, *[0] * (len(weights) - 1)] if weights else []
    quotients = [divmod(amount * weight, total) for weight in weights]
    shares = [quotient for quotient, _ in quotients]
    by_remainder = sorted(range(len(weights)), key=lambda place: -quotients[place][1])
    for place in by_remainder[: amount - sum(shares)]:
        shares[place] += 1
    return shares
