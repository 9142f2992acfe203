/* Checksums, UTF-8 and names. Part of _hot.c. */

/* -- checksums and texts -------------------------------------------------------------------------------------------- */

static uint32_t crc_of[8][256];

static void crc_prepare(void) {
    for (uint32_t n = 0; n < 256; n++) {
        uint32_t c = n;
        for (int k = 0; k < 8; k++) c = c & 1 ? 0xEDB88320u ^ (c >> 1) : c >> 1;
        crc_of[0][n] = c;
    }
    for (int k = 1; k < 8; k++)
        for (uint32_t n = 0; n < 256; n++) crc_of[k][n] = crc_of[0][crc_of[k - 1][n] & 255] ^ (crc_of[k - 1][n] >> 8);
}

/* The CRC-32 of zlib, eight bytes at a time. */
static uint32_t crc32_on(uint32_t crc, const uint8_t *p, Py_ssize_t n) {
    crc = ~crc;
    for (; n >= 8; p += 8, n -= 8) {
        uint64_t w;
        memcpy(&w, p, 8);
        w ^= crc;
        crc = crc_of[7][w & 255] ^ crc_of[6][w >> 8 & 255] ^ crc_of[5][w >> 16 & 255] ^ crc_of[4][w >> 24 & 255]
            ^ crc_of[3][w >> 32 & 255] ^ crc_of[2][w >> 40 & 255] ^ crc_of[1][w >> 48 & 255] ^ crc_of[0][w >> 56];
    }
    for (; n > 0; p++, n--) crc = crc_of[0][(crc ^ *p) & 255] ^ (crc >> 8);
    return ~crc;
}

/* Whether the bytes are UTF-8 as Python decodes it (RFC 3629): no surrogates, nothing overlong, nothing cut. */
static int is_utf8(const uint8_t *p, const uint8_t *end) {
    while (p < end) {
        uint8_t c = *p++;
        if (c < 0x80) continue;
        int more = c >= 0xF0 ? 3 : c >= 0xE0 ? 2 : 1;
        if (c < 0xC2 || c > 0xF4 || end - p < more) return 0;
        uint8_t low = c == 0xE0 ? 0xA0 : c == 0xF0 ? 0x90 : 0x80, high = c == 0xED ? 0x9F : c == 0xF4 ? 0x8F : 0xBF;
        if (*p < low || *p > high) return 0;
        for (int k = 1; k < more; k++)
            if ((p[k] & 0xC0) != 0x80) return 0;
        p += more;
    }
    return 1;
}

/* A str of bytes that are UTF-8, from a table: names of rooms and senders come again and again. */
static PyObject *name_of(const uint8_t *p, Py_ssize_t n) {
    uint64_t a = 0, b = 0;
    memcpy(&a, p, n < 8 ? (size_t)n : 8);
    if (n > 8) memcpy(&b, p + n - 8, 8);
    uint64_t mixed = (a * 0x9E3779B97F4A7C15u) ^ (b * 0xC2B2AE3D27D4EB4Fu) ^ (uint64_t)n;
    PyObject **slot = &names_table[(mixed ^ mixed >> 29 ^ mixed >> 47) % TABLE];
    if (*slot != NULL) {
        Py_ssize_t size;
        const char *known = PyUnicode_AsUTF8AndSize(*slot, &size);
        if (known == NULL) return NULL;
        if (size == n && memcmp(known, p, (size_t)n) == 0) return Py_NewRef(*slot);
    }
    PyObject *made = PyUnicode_FromStringAndSize((const char *)p, n);
    if (made == NULL) return NULL;
    PyObject *before = *slot;
    *slot = Py_NewRef(made);
    Py_XDECREF(before);
    return made;
}

/* What is written, and where it must end. */
typedef struct { uint8_t *at, *end; } Sink;

static int put_bytes(Sink *out, const void *p, Py_ssize_t size) {
    if (size < 0 || out->end - out->at < size) return 0;
    memcpy(out->at, p, (size_t)size);
    out->at += size;
    return 1;
}

static int put_char(Sink *out, char c) { return put_bytes(out, &c, 1); }

static int put_number(Sink *out, uint64_t number) {
    char digits[20];
    int n = 20;
    do digits[--n] = (char)('0' + number % 10);
    while (number /= 10);
    return put_bytes(out, digits + n, 20 - n);
}
