/* Counts, histograms and records: what is changed by each message. Part of _hot.c. */

static void release(PyObject *self, int (*clear)(PyObject *)) {
    PyTypeObject *type = Py_TYPE(self);
    PyObject_GC_UnTrack(self);
    clear(self);
    ((freefunc)PyType_GetSlot(type, Py_tp_free))(self);
    Py_DECREF(type);
}

/* -- counts of a session, and the hooks that every message asks for ------------------------------------------------------- */

typedef struct {
    PyObject_HEAD
    PyObject *on_answer, *on_message; /* None, or NULL before the session sets them */
    long long acked, acked_unnumbered, counter, heard_count, frames_recorded, own_heard, abandoned, refused;
    char connected_now;
} Counts;

static int counts_traverse(PyObject *self, visitproc visit, void *arg) {
    Py_VISIT(Py_TYPE(self));
    Py_VISIT(((Counts *)self)->on_answer);
    Py_VISIT(((Counts *)self)->on_message);
    return 0;
}

static int counts_clear(PyObject *self) {
    Py_CLEAR(((Counts *)self)->on_answer);
    Py_CLEAR(((Counts *)self)->on_message);
    return 0;
}

static void counts_dealloc(PyObject *self) { release(self, counts_clear); }

#define COUNT(name) {#name, T_LONGLONG, offsetof(Counts, name), 0, NULL}
static PyMemberDef counts_members[] = {
    COUNT(acked), COUNT(acked_unnumbered), COUNT(counter), COUNT(heard_count), COUNT(frames_recorded), COUNT(own_heard),
    COUNT(abandoned), COUNT(refused), {"connected_now", T_BOOL, offsetof(Counts, connected_now), 0, NULL},
    {"on_answer", T_OBJECT, offsetof(Counts, on_answer), 0, NULL},
    {"on_message", T_OBJECT, offsetof(Counts, on_message), 0, NULL}, {NULL, 0, 0, 0, NULL}};
static PyType_Slot counts_slots[] = {
    {Py_tp_doc, "Counts of a session; the Python class of this name says what they are."},
    {Py_tp_dealloc, counts_dealloc}, {Py_tp_traverse, counts_traverse}, {Py_tp_clear, counts_clear},
    {Py_tp_members, counts_members}, {0, NULL}};
static PyType_Spec counts_spec = {
    "earwitness.harness.native._hot.Counts", sizeof(Counts), 0,
    Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_HAVE_GC, counts_slots};

/* -- histograms, as in client/tally.py ------------------------------------------------------------------------------ */

enum { BUCKETS = 24 << 7 };

typedef struct {
    PyObject_HEAD
    long long total, least, most;
    uint64_t buckets[BUCKETS];
} Histogram;

static void histogram_clear(Histogram *h) {
    h->total = h->most = 0;
    h->least = 1LL << 62;
    memset(h->buckets, 0, sizeof h->buckets);
}

static void histogram_count(Histogram *h, long long ns) {
    if (ns < 0) ns = 0;
    uint64_t units = (uint64_t)ns >> 6;
    if (units > 255) {
        int shift = 63 - __builtin_clzll(units) - 7;
        units = ((uint64_t)shift << 7) + (units >> shift);
        if (units >= BUCKETS) units = BUCKETS - 1;
    }
    h->buckets[units]++;
    if (__builtin_add_overflow(h->total, ns, &h->total)) h->total = INT64_MAX;
    if (ns < h->least) h->least = ns;
    if (ns > h->most) h->most = ns;
}

static PyObject *histogram_new(PyTypeObject *type, PyObject *args, PyObject *named) {
    (void)args, (void)named;
    allocfunc allocate = (allocfunc)PyType_GetSlot(type, Py_tp_alloc);
    Histogram *h = (Histogram *)allocate(type, 0);
    if (h != NULL) histogram_clear(h);
    return (PyObject *)h;
}

static PyObject *histogram_add(PyObject *self, PyObject *ns) {
    long long value = PyLong_AsLongLong(ns);
    if (value == -1 && PyErr_Occurred()) return NULL;
    histogram_count((Histogram *)self, value);
    Py_RETURN_NONE;
}

static PyObject *histogram_take(PyObject *self, PyObject *unused) {
    (void)unused;
    Histogram *h = (Histogram *)self;
    PyObject *counts = PyDict_New();
    if (counts == NULL) return NULL;
    for (long n = 0; n < BUCKETS; n++) {
        if (!h->buckets[n]) continue;
        PyObject *key = PyLong_FromLong(n), *value = PyLong_FromUnsignedLongLong(h->buckets[n]);
        int failed = key == NULL || value == NULL || PyDict_SetItem(counts, key, value) < 0;
        Py_XDECREF(key);
        Py_XDECREF(value);
        if (failed) {
            Py_DECREF(counts);
            return NULL;
        }
    }
    PyObject *taken = Py_BuildValue("(NLLL)", counts, h->total, h->least, h->most);
    if (taken != NULL) histogram_clear(h);
    return taken;
}

static PyMethodDef histogram_methods[] = {
    {"add", histogram_add, METH_O, "Count one latency in ns."},
    {"take", histogram_take, METH_NOARGS, "Return (counts by bucket, sum, least, most) and start anew."},
    {NULL, NULL, 0, NULL}};
static PyType_Slot histogram_slots[] = {
    {Py_tp_new, histogram_new}, {Py_tp_methods, histogram_methods}, {0, NULL}};
static PyType_Spec histogram_spec = {
    "earwitness.harness.native._hot.Histogram", sizeof(Histogram), 0, Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE,
    histogram_slots};

/* -- records, as in record/journal.py ------------------------------------------------------------------------------- */

typedef struct {
    PyObject_HEAD
    Py_buffer page;
    long long count, limit, base; /* records so far; up to where this block goes; bytes before the page */
    PyObject *new_block;
} Pen;

static int pen_room(const Pen *pen, int records) {
    long long at = pen->count * RECORD - pen->base;
    return pen->page.buf != NULL && pen->count + records <= pen->limit && at >= 0
        && at + (long long)records * RECORD <= pen->page.len;
}

/* Append one record; `pen_room` has been asked. The index is written last: it says that the record is complete. */
static void pen_put(Pen *pen, int64_t t, uint8_t kind, uint8_t flags, uint8_t attempt, uint8_t proc, uint32_t client,
                    uint32_t conn, uint32_t conv, uint32_t author, uint32_t counter, int64_t seq, int64_t aux,
                    uint32_t size, uint32_t digest) {
    struct { int64_t t; uint8_t small[4]; uint32_t ids[5]; int64_t seq, aux; uint32_t size, digest; } record = {
        t, {kind, flags, attempt, proc}, {client, conn, conv, author, counter}, seq, aux, size, digest};
    _Static_assert(sizeof record == 56, "the layout of checks/history/record.py");
    uint8_t *at = (uint8_t *)pen->page.buf + (pen->count * RECORD - pen->base);
    memcpy(at, &record, sizeof record);
    __atomic_store_n((uint64_t *)(void *)(at + 56), (uint64_t)(pen->count + 1), __ATOMIC_RELEASE);
    pen->count++;
}

static PyObject *pen_write(PyObject *self, PyObject *const *args, Py_ssize_t given) {
    static const long long most[14] = {INT64_MAX, 255, 255, 255, 255, UINT32_MAX, UINT32_MAX, UINT32_MAX, UINT32_MAX,
                                       UINT32_MAX, INT64_MAX, INT64_MAX, UINT32_MAX, UINT32_MAX};
    Pen *pen = (Pen *)self;
    long long v[14];
    if (given != 14) return PyErr_Format(PyExc_TypeError, "a record has 14 numbers, not %zd", given);
    if (!pen_room(pen, 1)) {
        PyObject *record = PyTuple_New(14);
        if (record == NULL) return NULL;
        for (Py_ssize_t n = 0; n < 14; n++) PyTuple_SetItem(record, n, Py_NewRef(args[n]));
        PyObject *number = PyObject_CallObject(pen->new_block, record);
        Py_DECREF(record);
        return number;
    }
    for (int n = 0; n < 14; n++) {
        int over = 0;
        v[n] = PyLong_AsLongLongAndOverflow(args[n], &over);
        if (over || (v[n] == -1 && PyErr_Occurred()) || v[n] > most[n] || (v[n] < 0 && most[n] != INT64_MAX)) {
            PyErr_Clear();
            return PyErr_Format(struct_error, "number %d of a record is out of its range", n + 1);
        }
    }
    pen_put(pen, v[0], (uint8_t)v[1], (uint8_t)v[2], (uint8_t)v[3], (uint8_t)v[4], (uint32_t)v[5], (uint32_t)v[6],
            (uint32_t)v[7], (uint32_t)v[8], (uint32_t)v[9], v[10], v[11], (uint32_t)v[12], (uint32_t)v[13]);
    return PyLong_FromLongLong(pen->count);
}

static PyObject *pen_turn(PyObject *self, PyObject *args) {
    Pen *pen = (Pen *)self;
    PyObject *view;
    long long base;
    Py_buffer page;
    if (!PyArg_ParseTuple(args, "OL", &view, &base)) return NULL;
    if (PyObject_GetBuffer(view, &page, PyBUF_WRITABLE) < 0) return NULL;
    if ((uintptr_t)page.buf % 8) {
        PyBuffer_Release(&page);
        return PyErr_Format(PyExc_ValueError, "a page begins at a multiple of 8 bytes");
    }
    if (pen->page.obj != NULL) PyBuffer_Release(&pen->page);
    pen->page = page;
    pen->base = base;
    Py_RETURN_NONE;
}

static PyObject *pen_halt(PyObject *self, PyObject *unused) {
    (void)unused;
    Pen *pen = (Pen *)self;
    if (pen->page.obj != NULL) PyBuffer_Release(&pen->page);
    memset(&pen->page, 0, sizeof pen->page);
    pen->limit = pen->count;
    Py_RETURN_NONE;
}

static int pen_init(PyObject *self, PyObject *args, PyObject *named) {
    static char *names[] = {"new_block", NULL};
    PyObject *new_block;
    if (!PyArg_ParseTupleAndKeywords(args, named, "O", names, &new_block)) return -1;
    PyObject *before = ((Pen *)self)->new_block;
    ((Pen *)self)->new_block = Py_NewRef(new_block);
    Py_XDECREF(before);
    return 0;
}

static int pen_traverse(PyObject *self, visitproc visit, void *arg) {
    Py_VISIT(Py_TYPE(self));
    Py_VISIT(((Pen *)self)->new_block);
    return 0;
}

static int pen_clear(PyObject *self) {
    Py_CLEAR(((Pen *)self)->new_block);
    return 0;
}

static void pen_dealloc(PyObject *self) {
    Pen *pen = (Pen *)self;
    if (pen->page.obj != NULL) PyBuffer_Release(&pen->page);
    release(self, pen_clear);
}

static PyMemberDef pen_members[] = {
    {"count", T_LONGLONG, offsetof(Pen, count), READONLY, NULL}, {"limit", T_LONGLONG, offsetof(Pen, limit), 0, NULL},
    {"base", T_LONGLONG, offsetof(Pen, base), READONLY, NULL}, {NULL, 0, 0, 0, NULL}};
static PyMethodDef pen_methods[] = {
    {"write", (PyCFunction)(void (*)(void))pen_write, METH_FASTCALL, "Append one record; see `Write`."},
    {"turn", pen_turn, METH_VARARGS, "Continue in another page, whose first byte is byte `base` of the file."},
    {"halt", pen_halt, METH_NOARGS, "Stop writing: the next record asks for a block."}, {NULL, NULL, 0, NULL}};
static PyType_Slot pen_slots[] = {
    {Py_tp_init, pen_init}, {Py_tp_dealloc, pen_dealloc}, {Py_tp_traverse, pen_traverse}, {Py_tp_clear, pen_clear},
    {Py_tp_members, pen_members}, {Py_tp_methods, pen_methods}, {0, NULL}};
static PyType_Spec pen_spec = {
    "earwitness.harness.native._hot.Pen", sizeof(Pen), 0, Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC, pen_slots};
