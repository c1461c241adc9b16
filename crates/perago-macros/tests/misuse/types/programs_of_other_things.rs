struct Plain;

fn helper() {}

mod elsewhere {
    pub fn helper() {}
}

perago::main!(Plain, helper, elsewhere::helper, missing);
