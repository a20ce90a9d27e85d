package Nucleus::Fault;

# A disk that fails, stalls or is full when the test says so: fault.c, preloaded into nginx.
#
#     my $fault = Nucleus::Fault->new($t);
#     $t->start_nginx(env => $fault->env);
#     $fault->set('sync-fail');
#     $fault->clear;

use strict;
use warnings;

use File::Basename qw(dirname);

sub new {
    my ($class, $t) = @_;

    my $self = bless { t => $t, control => $t->dir . '/fault' }, $class;
    my $so = $t->preload(dirname(__FILE__) . '/fault.c');

    # the sanitizer's own library need not come first: fault.c calls the next one
    my $asan = join ':', grep { length } $ENV{ASAN_OPTIONS} // '', 'verify_asan_link_order=0';

    $self->{env} = {
        LD_PRELOAD        => $so,
        ASAN_OPTIONS      => $asan,
        NUCLEUS_FAULT     => $self->{control},
        NUCLEUS_FAULT_DIR => $t->queue,
    };

    # nginx's processes may be another user's
    $t->write_file("$self->{control}.hits", '');
    chmod 0666, "$self->{control}.hits";
    $self->clear;

    return $self;
}

sub env { return $_[0]{env} }

# What nginx.conf needs for a binary upgrade: the new master gets no other environment.
sub directives { return map { "env $_;\n" } qw(LD_PRELOAD ASAN_OPTIONS NUCLEUS_FAULT NUCLEUS_FAULT_DIR) }

# From the next call on.  The file is replaced as a whole: no call sees half of it.
sub set {
    my ($self, @words) = @_;

    $self->{t}->write_file("$self->{control}.new", "@words\n");
    rename "$self->{control}.new", $self->{control} or die "rename failed: $!\n";
}

sub clear { $_[0]->set('') }

# How many calls have suffered.
sub hits { return -s "$_[0]{control}.hits" }

1;
