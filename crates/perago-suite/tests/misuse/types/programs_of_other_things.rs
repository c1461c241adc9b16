struct Plain;

fn helper() {}

mod elsewhere {
    pub fn other() {}
}

perago::main!(Plain, helper, elsewhere::other);
