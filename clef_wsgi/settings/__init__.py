"""Text settings turned into constructor arguments: INI section or environment, values, plugs, deployment."""

from .deployment import Deployment, from_settings, load, settings_from_environ

__all__ = ["Deployment", "from_settings", "load", "settings_from_environ"]
