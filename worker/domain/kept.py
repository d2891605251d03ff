"""The JSON in which orders, facts and the terms that decided them are kept."""

import msgspec

from worker.domain.facts import Fact
from worker.domain.order import Order
from worker.domain.terms import Terms

encode = msgspec.json.Encoder().encode
decode_order = msgspec.json.Decoder(Order).decode
decode_fact = msgspec.json.Decoder(Fact).decode
decode_terms = msgspec.json.Decoder(Terms).decode
