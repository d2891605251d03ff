"""Metrics as Prometheus reads them."""

from prometheus_client import REGISTRY


def sample(name: str, **labels: str) -> float:
    """The present value of one sample; 0 where nothing was counted yet."""
    return REGISTRY.get_sample_value(name, labels) or 0.0


def facts(topic: str, fate: str) -> float:
    return sample("settlement_facts_total", topic=topic, fate=fate)


def alert(code: str, connector: str = "") -> float:
    """1 while the alert lasts."""
    return sample("settlement_alert", code=code, connector=connector)
