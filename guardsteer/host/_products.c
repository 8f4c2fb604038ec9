/* Products of hidden states with a probe's directions, without a way through torch.

   Behind a model's pass every call of torch comes from memory again: the product of one state, its shape and its
   number are three, which take many times what the arithmetic does. DLPack's exchange table, which torch hands out
   for this, says where a tensor's numbers lie, of which kind and in what order. Whatever is not plain here (other
   kinds of numbers, other devices, states in another order) is left to torch. */

#define Py_LIMITED_API 0x030b0000
#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <stdint.h>

/* As products.py has it: raised in both whenever what they say to each other changes. */
enum { VERSION = 1 };

/* --- DLPack's interface, as its specification 1.x lays it out (dmlc.github.io/dlpack) ------------------------ */

enum { DLPACK_MAJOR = 1, ON_CPU = 1, REAL = 2 };

typedef struct {
    void *data;
    struct {
        int32_t type, id;
    } device;
    int32_t dimensions;
    struct {
        uint8_t code, bits;
        uint16_t lanes;
    } kind;
    int64_t *shape, *strides;
    uint64_t byte_offset;
} View;

typedef struct {
    struct {
        uint32_t major, minor;
    } version;
    void *previous;
    void *unused[3];
    int (*view)(void *tensor, View *view);
    void *stream;
} Table;

/* --- an exchange -------------------------------------------------------------------------------------------- */

typedef struct {
    PyObject_HEAD
    PyObject *capsule, *type; /* whose table it is, and the only type of tensor that it is asked about */
    const Table *table;
} Exchange;

/* Look at a tensor of float32 on the processor, with so many dimensions; 0 where it is none such. */
static int
look(const Exchange *self, PyObject *tensor, int dimensions, View *view)
{
    if ((PyObject *)Py_TYPE(tensor) != self->type)
        return 0;
    if (self->table->view(tensor, view) != 0) {
        PyErr_Clear();
        return 0;
    }
    return view->device.type == ON_CPU && view->dimensions == dimensions && view->kind.code == REAL &&
           view->kind.bits == 32 && view->kind.lanes == 1 && view->strides != NULL;
}

static const float *
start_of(const View *view)
{
    return (const float *)(const void *)((const char *)view->data + view->byte_offset);
}

/* In an order that depends on nothing but the width, so that a row's is the same alone and in any batch. */
static double
product(const float *left, const float *right, int64_t width)
{
    double parts[4] = {0.0, 0.0, 0.0, 0.0};
    int64_t place = 0;
    for (; place + 4 <= width; place += 4)
        for (int part = 0; part < 4; part++)
            parts[part] += (double)left[place + part] * (double)right[place + part];
    for (; place < width; place++)
        parts[0] += (double)left[place] * (double)right[place];
    return (parts[0] + parts[1]) + (parts[2] + parts[3]);
}

/* Return the products of one state with each direction. */
static PyObject *
products_of(const float *state, const View *weight)
{
    const float *directions = start_of(weight);
    int64_t outputs = weight->shape[0], width = weight->shape[1];
    PyObject *found = PyList_New((Py_ssize_t)outputs);
    for (int64_t output = 0; found != NULL && output < outputs; output++) {
        PyObject *number = PyFloat_FromDouble(product(state, directions + output * weight->strides[0], width));
        if (number == NULL || PyList_SetItem(found, (Py_ssize_t)output, number) < 0)
            Py_CLEAR(found);
    }
    return found;
}

static PyObject *
exchange_products(PyObject *given, PyObject *const *items, Py_ssize_t count)
{
    const Exchange *self = (Exchange *)given;
    View hidden, weight;
    if (count != 2) {
        PyErr_SetString(PyExc_TypeError, "expected hidden states and directions");
        return NULL;
    }
    if (!look(self, items[0], 3, &hidden) || !look(self, items[1], 2, &weight) ||
        hidden.shape[2] != weight.shape[1] || hidden.strides[2] != 1 || weight.strides[1] != 1)
        Py_RETURN_NONE;
    const float *states = start_of(&hidden);
    PyObject *rows = PyList_New((Py_ssize_t)hidden.shape[0]);
    for (int64_t row = 0; rows != NULL && row < hidden.shape[0]; row++) {
        PyObject *columns = PyList_New((Py_ssize_t)hidden.shape[1]);
        for (int64_t column = 0; columns != NULL && column < hidden.shape[1]; column++) {
            const float *state = states + row * hidden.strides[0] + column * hidden.strides[1];
            PyObject *found = products_of(state, &weight);
            if (found == NULL || PyList_SetItem(columns, (Py_ssize_t)column, found) < 0)
                Py_CLEAR(columns);
        }
        if (columns == NULL || PyList_SetItem(rows, (Py_ssize_t)row, columns) < 0)
            Py_CLEAR(rows);
    }
    return rows;
}

/* --- the type --------------------------------------------------------------------------------------------- */

static PyObject *
exchange_new(PyTypeObject *type, PyObject *args, PyObject *keywords)
{
    PyObject *capsule, *tensor;
    if (keywords != NULL && PyDict_Size(keywords)) {
        PyErr_SetString(PyExc_TypeError, "takes no keyword arguments");
        return NULL;
    }
    if (!PyArg_ParseTuple(args, "OO!", &capsule, &PyType_Type, &tensor))
        return NULL;
    const Table *table = PyCapsule_GetPointer(capsule, "dlpack_exchange_api");
    if (table == NULL)
        return NULL;
    if (table->version.major != DLPACK_MAJOR || table->view == NULL) {
        PyErr_Format(PyExc_ValueError, "a table of DLPack %u, expected %d", table->version.major, DLPACK_MAJOR);
        return NULL;
    }
    Exchange *self = (Exchange *)((allocfunc)PyType_GetSlot(type, Py_tp_alloc))(type, 0);
    if (self == NULL)
        return NULL;
    Py_INCREF(capsule);
    Py_INCREF(tensor);
    self->capsule = capsule;
    self->type = tensor;
    self->table = table;
    return (PyObject *)self;
}

static void
exchange_dealloc(PyObject *given)
{
    Exchange *self = (Exchange *)given;
    PyTypeObject *type = Py_TYPE(given);
    Py_XDECREF(self->capsule);
    Py_XDECREF(self->type);
    ((freefunc)PyType_GetSlot(type, Py_tp_free))(given);
    Py_DECREF(type);
}

static PyMethodDef exchange_methods[] = {
    {"products", (PyCFunction)(void (*)(void))exchange_products, METH_FASTCALL,
     "Return the products [row][column][output] of float32 [row, column, width] and [output, width] on the "
     "processor, None for any others."},
    {NULL, NULL, 0, NULL},
};

static PyType_Slot exchange_slots[] = {
    {Py_tp_doc, "Tensors of one library, seen through its DLPack table."},
    {Py_tp_new, exchange_new},
    {Py_tp_dealloc, exchange_dealloc},
    {Py_tp_methods, exchange_methods},
    {0, NULL},
};

static PyType_Spec exchange_spec = {
    .name = "guardsteer.host._products.Exchange",
    .basicsize = sizeof(Exchange),
    .flags = Py_TPFLAGS_DEFAULT,
    .slots = exchange_slots,
};

/* --- the module ------------------------------------------------------------------------------------------- */

static struct PyModuleDef definition = {
    PyModuleDef_HEAD_INIT,
    .m_name = "guardsteer.host._products",
    .m_doc = "Products of hidden states with directions.",
    .m_size = -1,
};

PyMODINIT_FUNC
PyInit__products(void)
{
    PyObject *module = PyModule_Create(&definition);
    if (module == NULL)
        return NULL;
    PyObject *type = PyType_FromSpec(&exchange_spec);
    if (type == NULL || PyModule_AddIntConstant(module, "VERSION", VERSION) < 0 ||
        PyModule_AddObjectRef(module, "Exchange", type) < 0) {
        Py_XDECREF(type);
        Py_DECREF(module);
        return NULL;
    }
    Py_DECREF(type);
    return module;
}
