struct Plain;

fn helper() {}

perago::main!(Plain, helper);
