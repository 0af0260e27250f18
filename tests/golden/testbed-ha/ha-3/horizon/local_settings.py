# Strings are JSON, which is valid Python too.
SECRET_KEY = "dummy-horizon-secret-key"
# The last two: as health checks ask.
ALLOWED_HOSTS = ["api.ha.scs.example", "internal.ha.scs.example", "172.30.2.10", "172.30.2.9", "127.0.0.1", "ha-3"]

SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")
CSRF_COOKIE_SECURE = True
SESSION_COOKIE_SECURE = True
SESSION_COOKIE_HTTPONLY = True
SESSION_ENGINE = "django.contrib.sessions.backends.cache"
SESSION_TIMEOUT = 3600

OPENSTACK_KEYSTONE_URL = "https://internal.ha.scs.example:5000/v3"
OPENSTACK_KEYSTONE_DEFAULT_DOMAIN = "Default"
OPENSTACK_KEYSTONE_MULTIDOMAIN_SUPPORT = True
OPENSTACK_ENDPOINT_TYPE = "internalURL"
# Browsers send images to Glance. Through the dashboard, each would first be a file here, of a size that nobody limits.
HORIZON_IMAGES_UPLOAD_MODE = "direct"
OPENSTACK_SSL_CACERT = "/etc/scs/ca.crt"

TIME_ZONE = "UTC"
LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {"console": {"format": "%(asctime)s %(levelname)s %(name)s %(message)s"}},
    "handlers": {"console": {"class": "logging.StreamHandler", "formatter": "console"}},
    "root": {"handlers": ["console"], "level": "INFO"},
    "loggers": {
        # Its handlers would print each request twice.
        "django": {"handlers": [], "level": "INFO", "propagate": True},
        "urllib3": {"level": "WARNING"},
    },
}
