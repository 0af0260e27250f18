# Sessions are shared by all processes. What else is kept belongs to one process of one image: scripts that another image
# put together do not fit, and the page would fail.
SESSION_CACHE_ALIAS = "sessions"
CACHES = {
    "default": {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"},
    "sessions": {
        "BACKEND": "scs_sessions.Sessions",
        "LOCATION": ["172.30.0.11:11212"],
    },
}
