/* A calm row's steps, each in one call: what row.py does where nothing can turn, and no more.

   Between two passes of a model every statement of Python costs several times what it costs in a loop, since
   nothing of it is left in the processor's caches, and a batch pays it for each row. While a row is calm all
   that a step does is known beforehand: the classifiers read the token's text, their scores stay between two
   numbers each, and the plan is the one before. Whatever is not so is left to row.py, which goes on from there.

   The interpreter's lock is held throughout; holders take care that no two threads use a Stride at a time. */

#define Py_LIMITED_API 0x030b0000
#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <math.h>
#include <stddef.h>
#include <structmember.h>

/* As strides.py has it: raised in both whenever what they say to each other changes. */
enum { VERSION = 1 };

/* As strides.py names them. */
enum { UNREAD, DECIDED, READ };

/* As probing.py has it. */
static const double FAR_OUT = 700.0;

static PyObject *name_step, *name_index, *name_key, *name_written, *name_plan, *name_complete;

typedef struct {
    Py_ssize_t signal;
    double low, high;
} Cell;

/* Of the objects held, all but the last are given at first. */
enum { HELD = 7, GIVEN = 6, NO_SIGNAL = -1 };

typedef struct {
    PyObject_HEAD
    union {
        struct {
            PyObject *make_step; /* Step */
            PyObject *known;     /* what tokens say: a dictionary of texts, None for those it does not tell */
            PyObject *closing;   /* the tokens that end a text: a frozenset */
            PyObject *signals;   /* the row's own list */
            PyObject *early;     /* the plan that text decides */
            PyObject *lose;      /* told of a classifier that raised: its reading and the exception */
            PyObject *late;      /* what a probe completes the plan to */
        };
        PyObject *held[HELD];
    };
    PyObject *reads; /* for each classifier a tuple: its reading, its state's read_into, its first signal */
    Py_ssize_t steps, untold;
    int waits;   /* whether a probe completes what text decides */
    Cell probe; /* what its score has to keep to; of NO_SIGNAL while that is not known */
    double bias;
    Py_ssize_t count;
    Cell cells[1];
} Stride;

/* --- a step ----------------------------------------------------------------------------------------------- */

/* Whether a row's score keeps to its cell; -1 with an error set where there is no such score. */
static int
keeps_to(PyObject *signals, const Cell *cell)
{
    PyObject *given = PyList_GetItem(signals, cell->signal);
    double score = given == NULL ? -1.0 : PyFloat_AsDouble(given);
    if (score == -1.0 && PyErr_Occurred())
        return -1;
    return cell->low < score && score < cell->high;
}

static PyObject *
one_more(PyObject *owner, PyObject *name)
{
    PyObject *found = PyObject_GetAttr(owner, name);
    if (found == NULL)
        return NULL;
    Py_ssize_t value = PyLong_AsSsize_t(found);
    Py_DECREF(found);
    return value == -1 && PyErr_Occurred() ? NULL : PyLong_FromSsize_t(value + 1);
}

/* What identifies the tokens up to the next one: the hash of a pair, as row.py takes it. */
static PyObject *
next_key(PyObject *parent, PyObject *token)
{
    PyObject *key = PyObject_GetAttr(parent, name_key);
    PyObject *pair = key == NULL ? NULL : PyTuple_Pack(2, key, token);
    Py_XDECREF(key);
    if (pair == NULL)
        return NULL;
    Py_hash_t hashed = PyObject_Hash(pair);
    Py_DECREF(pair);
    return hashed == -1 ? NULL : PyLong_FromSsize_t(hashed);
}

static PyObject *
begin_step(Stride *self, PyObject *row, PyObject *token)
{
    PyObject *step = NULL, *parent = PyObject_GetAttr(row, name_step);
    if (parent == NULL)
        return NULL;
    PyObject *index = one_more(row, name_index), *written = one_more(parent, name_written);
    PyObject *key = next_key(parent, token);
    if (index != NULL && written != NULL && key != NULL)
        step = PyObject_CallFunctionObjArgs(self->make_step, parent, index, token, key, self->early, written, NULL);
    if (step != NULL && (PyObject_SetAttr(row, name_index, index) < 0 || PyObject_SetAttr(row, name_step, step) < 0)) {
        Py_DECREF(step);
        step = NULL;
    }
    Py_DECREF(parent);
    Py_XDECREF(index);
    Py_XDECREF(written);
    Py_XDECREF(key);
    return step;
}

/* Give up a classifier that raised; -1 where what it raised is not for a row to take. */
static int
give_up(Stride *self, PyObject *reading)
{
    PyObject *type, *error, *trace;
    if (!PyErr_ExceptionMatches(PyExc_Exception))
        return -1;
    PyErr_Fetch(&type, &error, &trace);
    PyErr_NormalizeException(&type, &error, &trace);
    if (trace != NULL)
        PyException_SetTraceback(error, trace);
    PyObject *told = PyObject_CallFunctionObjArgs(self->lose, reading, error, NULL);
    Py_XDECREF(type);
    Py_XDECREF(error);
    Py_XDECREF(trace);
    Py_XDECREF(told);
    return told == NULL ? -1 : 0;
}

/* Let every classifier read: 1 where all did, 0 where one was given up, -1 with an error set. */
static int
read_all(Stride *self, PyObject *text)
{
    int whole = 1;
    Py_ssize_t count = PyTuple_Size(self->reads);
    for (Py_ssize_t place = 0; place < count; place++) {
        PyObject *entry = PyTuple_GetItem(self->reads, place);
        PyObject *read_into = PyTuple_GetItem(entry, 1), *first = PyTuple_GetItem(entry, 2);
        PyObject *done = PyObject_CallFunctionObjArgs(read_into, text, self->signals, first, NULL);
        if (done == NULL) {
            if (give_up(self, PyTuple_GetItem(entry, 0)) < 0)
                return -1;
            whole = 0;
        }
        Py_XDECREF(done);
    }
    return whole;
}

/* Do as Row.advance does: UNREAD where nothing was done, READ where the row has to decide. */
static PyObject *
stride_advance(PyObject *given, PyObject *const *items, Py_ssize_t count)
{
    Stride *self = (Stride *)given;
    if (count != 2) {
        PyErr_SetString(PyExc_TypeError, "expected a row and a token");
        return NULL;
    }
    PyObject *row = items[0], *token = items[1];
    PyObject *text = PyDict_GetItemWithError(self->known, token);
    if (text == NULL && PyErr_Occurred())
        return NULL;
    int ends = PySet_Contains(self->closing, token);
    if (ends < 0)
        return NULL;
    if (text == NULL || !PyUnicode_Check(text) || ends)
        return PyLong_FromLong(UNREAD);
    Py_INCREF(text);
    PyObject *step = begin_step(self, row, token);
    int keeps = step == NULL ? -1 : PyUnicode_GetLength(text) ? read_all(self, text) : 1;
    Py_DECREF(text);
    for (Py_ssize_t place = 0; keeps == 1 && place < self->count; place++)
        keeps = keeps_to(self->signals, &self->cells[place]);
    if (keeps == 1) {
        self->steps++;
        self->untold++;
        if (!self->waits && PyObject_SetAttr(step, name_complete, Py_True) < 0)
            keeps = -1;
    }
    Py_XDECREF(step);
    return keeps < 0 ? NULL : PyLong_FromLong(keeps ? DECIDED : READ);
}

/* Do as Row.complete does; false where the row has to decide, and to say anew what is expected. */
static PyObject *
stride_complete(PyObject *given, PyObject *const *items, Py_ssize_t count)
{
    Stride *self = (Stride *)given;
    if (count != 2) {
        PyErr_SetString(PyExc_TypeError, "expected a step and a product");
        return NULL;
    }
    Cell probe = self->probe;
    self->probe.signal = NO_SIGNAL;
    double logit = PyFloat_AsDouble(items[1]);
    if (logit == -1.0 && PyErr_Occurred())
        return NULL;
    logit += self->bias;
    double score = logit > -FAR_OUT ? 1.0 / (1.0 + exp(-logit)) : NAN;
    if (probe.signal == NO_SIGNAL || !(probe.low < score && score < probe.high))
        Py_RETURN_FALSE;
    PyObject *told = PyFloat_FromDouble(score);
    /* What is told is given away, whether there is a place for it or not. */
    if (told == NULL || PyList_SetItem(self->signals, probe.signal, told) < 0)
        return NULL;
    if (self->late != self->early && PyObject_SetAttr(items[0], name_plan, self->late) < 0)
        return NULL;
    if (PyObject_SetAttr(items[0], name_complete, Py_True) < 0)
        return NULL;
    self->probe = probe;
    Py_RETURN_TRUE;
}

/* --- the type --------------------------------------------------------------------------------------------- */

static int
cell_of(PyObject *given, Cell *cell)
{
    if (!PyTuple_Check(given)) {
        PyErr_SetString(PyExc_TypeError, "a cell is a tuple");
        return -1;
    }
    return PyArg_ParseTuple(given, "ndd;a cell is a signal's index and two numbers", &cell->signal, &cell->low,
                            &cell->high)
               ? 0
               : -1;
}

static int
is_reads(PyObject *reads)
{
    for (Py_ssize_t place = 0; place < PyTuple_Size(reads); place++) {
        PyObject *entry = PyTuple_GetItem(reads, place);
        if (!PyTuple_Check(entry) || PyTuple_Size(entry) != 3) {
            PyErr_SetString(PyExc_TypeError, "a read is a reading, a read_into and a signal's index");
            return 0;
        }
    }
    return 1;
}

static PyObject *
stride_new(PyTypeObject *type, PyObject *args, PyObject *keywords)
{
    PyObject *held[HELD], *reads, *cells;
    int waits;
    if (keywords != NULL && PyDict_Size(keywords)) {
        PyErr_SetString(PyExc_TypeError, "takes no keyword arguments");
        return NULL;
    }
    if (!PyArg_ParseTuple(args, "OO!OO!OOO!O!p", &held[0], &PyDict_Type, &held[1], &held[2], &PyList_Type, &held[3],
                          &held[4], &held[5], &PyTuple_Type, &reads, &PyTuple_Type, &cells, &waits))
        return NULL;
    /* Until a probe is expected to say more, its plan is the one that text decides. */
    held[GIVEN] = held[4];
    if (!PyFrozenSet_Check(held[2])) {
        PyErr_SetString(PyExc_TypeError, "the tokens that end a text are a frozenset");
        return NULL;
    }
    if (!is_reads(reads))
        return NULL;
    Py_ssize_t count = PyTuple_Size(cells);
    Stride *self = (Stride *)((allocfunc)PyType_GetSlot(type, Py_tp_alloc))(type, count);
    if (self == NULL)
        return NULL;
    for (int place = 0; place < HELD; place++) {
        Py_INCREF(held[place]);
        self->held[place] = held[place];
    }
    Py_INCREF(reads);
    self->reads = reads;
    self->count = count;
    self->waits = waits;
    self->probe.signal = NO_SIGNAL;
    for (Py_ssize_t place = 0; place < count; place++)
        if (cell_of(PyTuple_GetItem(cells, place), &self->cells[place]) < 0) {
            Py_DECREF(self);
            return NULL;
        }
    return (PyObject *)self;
}

static PyObject *
stride_expect(PyObject *given, PyObject *args)
{
    Stride *self = (Stride *)given;
    PyObject *plan, *cell;
    double bias;
    if (!PyArg_ParseTuple(args, "OOd", &plan, &cell, &bias) || cell_of(cell, &self->probe) < 0)
        return NULL;
    PyObject *former = self->late;
    Py_INCREF(plan);
    self->late = plan;
    Py_DECREF(former);
    self->bias = bias;
    Py_RETURN_NONE;
}

static PyObject *
stride_tell(PyObject *given, PyObject *unused)
{
    (void)unused;
    Stride *self = (Stride *)given;
    Py_ssize_t untold = self->untold;
    self->untold = 0;
    return PyLong_FromSsize_t(untold);
}

static void
stride_dealloc(PyObject *given)
{
    Stride *self = (Stride *)given;
    PyTypeObject *type = Py_TYPE(given);
    for (int place = 0; place < HELD; place++)
        Py_XDECREF(self->held[place]);
    Py_XDECREF(self->reads);
    ((freefunc)PyType_GetSlot(type, Py_tp_free))(given);
    Py_DECREF(type);
}

static PyMethodDef stride_methods[] = {
    {"advance", (PyCFunction)(void (*)(void))stride_advance, METH_FASTCALL,
     "Begin the row's next step with a token; return UNREAD, READ or DECIDED."},
    {"complete", (PyCFunction)(void (*)(void))stride_complete, METH_FASTCALL,
     "Finish a step with what the probe read; return whether that is all there is to do."},
    {"expect", stride_expect, METH_VARARGS, "Say which plan a probe completes steps to while its score keeps to a cell."},
    {"tell", stride_tell, METH_NOARGS, "Return how many steps were decided that were not told yet."},
    {NULL, NULL, 0, NULL},
};

static PyMemberDef stride_members[] = {
    {"steps", T_PYSSIZET, offsetof(Stride, steps), READONLY, "How many steps were decided in all."},
    {NULL, 0, 0, 0, NULL},
};

static PyType_Slot stride_slots[] = {
    {Py_tp_doc, "A row while its scores keep to their cells."},
    {Py_tp_new, stride_new},
    {Py_tp_dealloc, stride_dealloc},
    {Py_tp_methods, stride_methods},
    {Py_tp_members, stride_members},
    {0, NULL},
};

static PyType_Spec stride_spec = {
    .name = "guardsteer.runtime._strides.Stride",
    .basicsize = offsetof(Stride, cells),
    .itemsize = sizeof(Cell),
    .flags = Py_TPFLAGS_DEFAULT,
    .slots = stride_slots,
};

/* --- the module ------------------------------------------------------------------------------------------- */

static struct PyModuleDef definition = {
    PyModuleDef_HEAD_INIT,
    .m_name = "guardsteer.runtime._strides",
    .m_doc = "A calm row's steps, each in one call.",
    .m_size = -1,
};

static int
find_names(void)
{
    const struct {
        PyObject **held;
        const char *name;
    } names[] = {{&name_step, "step"},       {&name_index, "index"}, {&name_key, "key"},
                 {&name_written, "written"}, {&name_plan, "plan"},   {&name_complete, "complete"}};
    for (size_t place = 0; place < sizeof(names) / sizeof(*names); place++)
        if ((*names[place].held = PyUnicode_InternFromString(names[place].name)) == NULL)
            return -1;
    return 0;
}

PyMODINIT_FUNC
PyInit__strides(void)
{
    PyObject *module = PyModule_Create(&definition);
    if (module == NULL)
        return NULL;
    PyObject *type = PyType_FromSpec(&stride_spec);
    if (type == NULL || find_names() < 0 || PyModule_AddIntConstant(module, "VERSION", VERSION) < 0 ||
        PyModule_AddIntConstant(module, "UNREAD", UNREAD) < 0 || PyModule_AddIntConstant(module, "READ", READ) < 0 ||
        PyModule_AddIntConstant(module, "DECIDED", DECIDED) < 0 || PyModule_AddObjectRef(module, "Stride", type) < 0) {
        Py_XDECREF(type);
        Py_DECREF(module);
        return NULL;
    }
    Py_DECREF(type);
    return module;
}
